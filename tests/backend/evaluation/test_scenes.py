"""The scenes: as many people, sizes and shapes as promised, everybody to be seen, the same at every resolution."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from beyondscene.backend.cli import main
from beyondscene.backend.evaluation.crowd import SEEN, SMALLEST, discernibility
from beyondscene.backend.evaluation.fixed_scenes import (
    BACKGROUNDS,
    COUNT,
    QUICK,
    SHAPES,
    draw_scene,
    gather_crowd,
    scene_numbers,
    scene_size,
)
from beyondscene.backend.evaluation.keypoints import body_size
from beyondscene.backend.evaluation.scenes import TruthFile
from beyondscene.backend.mannequins.looks import SCENES, describe_person
from beyondscene.protocol import check_request, load_request
from msgspec import structs
from PIL import Image


def test_the_set_covers_people_shapes_and_sizes() -> None:
    assert (
        scene_numbers("full") == tuple(range(64)) and scene_numbers("quick") == QUICK and scene_numbers("full", 3) == (0, 1, 2)
    )
    assert set(QUICK) <= set(range(COUNT)) and {SHAPES[number // 8] for number in QUICK} == set(SHAPES)
    for number in range(COUNT):
        (aspect, growth), (width, height) = SHAPES[number // 8], scene_size(number, 256)
        assert width == aspect * height and width % 8 == height % 8 == 0
        assert width * height / 256**2 == pytest.approx(growth, rel=0.03)
    assert {aspect for aspect, _ in SHAPES} == {1, 2} and {growth for _, growth in SHAPES} == {4, 8, 16}
    assert set(BACKGROUNDS) <= set(SCENES)


@pytest.mark.parametrize("number", [0, 7, 20, 39, 63])
def test_requests_are_good_and_agree_with_their_truth(number: int) -> None:
    scene = draw_scene(number, 64)
    check_request(scene.request)
    assert len(scene.request.characters) == len(scene.looks) == number % 8 + 1
    assert scene.truth.picture.shape == (scene.request.height, scene.request.width, 3)
    for person, (character, look) in enumerate(zip(scene.request.characters, scene.looks, strict=True), start=1):
        assert look.shirt in character.prompt and look.hair in character.prompt
        joints = [joint for joint in character.keypoints if joint.state == "visible"]
        on = [scene.truth.instance[int(joint.y), int(joint.x)] == person for joint in joints]
        assert np.mean(on) > 0.6  # the others lie on a rim
        assert all(joint.depth > 1 for joint in joints)


@pytest.mark.parametrize("number", [7, 23, 55])
def test_everybody_can_be_discerned(number: int) -> None:
    crowd = gather_crowd(number)
    assert discernibility(crowd) >= SEEN
    assert all(body_size(points[:, :2]) >= SMALLEST * 512 for points in crowd.keypoints(512 * crowd.aspect, 512))


def test_a_scene_is_the_same_at_every_resolution() -> None:
    small, large = draw_scene(10, 64).request, draw_scene(10, 256).request
    assert [one.prompt for one in small.characters] == [one.prompt for one in large.characters]
    for one, other in zip(small.characters, large.characters, strict=True):
        for a, b in zip(one.keypoints, other.keypoints, strict=True):
            if "missing" not in (a.state, b.state):
                assert (a.x / small.width, a.y / small.height) == pytest.approx(
                    (b.x / large.width, b.y / large.height), abs=1e-3
                )


def test_who_leaves_the_frame_or_is_covered_is_noticed() -> None:
    crowd = gather_crowd(0)
    aside = replace(crowd, camera=structs.replace(crowd.camera, centre_x_px=crowd.camera.centre_x_px + 0.8))
    assert discernibility(aside) == 0
    twice = replace(crowd, bodies=crowd.bodies * 2, looks=crowd.looks * 2)  # one exactly before the other
    assert discernibility(twice) < 0.1


def test_write_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--write-scenes", str(tmp_path), "--limit", "1"]) == 0
    assert "1 scenes" in capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    request, arrays = load_request(folder / "request.json")
    assert not arrays
    truth = json.loads((folder / "truth.json").read_text())
    assert [person["id"] for person in truth["people"]] == [one.id for one in request.characters]
    instances = np.asarray(Image.open(folder / "instances.png"))
    assert instances.shape == (request.height, request.width) and instances.max() == len(request.characters)
    assert Image.open(folder / "truth.png").size == (request.width, request.height)
    bare = json.dumps({name: truth[name] for name in ("background", "people")})
    assert msgspec.json.decode(bare, type=TruthFile).regions == {}


def test_the_scenes_never_change() -> None:
    """Figures from different days can be compared only while this digest stays as it is."""
    told = hashlib.blake2b(digest_size=8)
    for number in range(COUNT):
        crowd = gather_crowd(number)
        points = np.round(crowd.keypoints(1000 * crowd.aspect, 1000)[..., :2]).astype(int)
        told.update(repr((crowd.background, [describe_person(look) for look in crowd.looks], points.tolist())).encode())
    assert told.hexdigest() == "afbc582c87624816"
