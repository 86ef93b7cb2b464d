"""Rendered views agree with their masks, keypoints and captions, and depend on nothing but the seed."""

import numpy as np
import pytest
from beyondscene.backend.mannequins.looks import GARMENT_COLOURS, Look, describe_person, draw_look
from beyondscene.backend.mannequins.mannequin import pose_body
from beyondscene.backend.mannequins.raster import LIGHTS, LOWER_BODY, REGIONS, THINGS, UPPER_BODY, Camera
from beyondscene.backend.mannequins.scenes import (
    FRAMINGS,
    MOST_PEOPLE,
    Framing,
    Rendering,
    compose_view,
    draw_view,
    people_from_left,
)
from beyondscene.protocol import KEYPOINT_NAMES
from msgspec.structs import replace


def view(seed: int, framing: Framing) -> Rendering:
    return draw_view(np.random.default_rng(seed), 128, framing)


@pytest.mark.parametrize("framing", list(FRAMINGS))
def test_views_are_deterministic_and_consistent(framing: Framing) -> None:
    one, other = view(5, framing=framing), view(5, framing=framing)
    assert np.array_equal(one.picture, other.picture)
    assert one.caption == other.caption
    assert one.picture.shape == (128, 128, 3)
    assert one.region.max() < len(REGIONS)
    assert np.array_equal(one.region > 0, one.instance > 0)
    assert len(one.looks) == len(one.keypoints)
    few, most = {"empty": (0, 0), "several": (2, 3), "crowd": (4, MOST_PEOPLE)}.get(framing, (1, 1))
    assert few <= len(one.looks) <= most


def test_joints_lie_on_the_person() -> None:
    hits = []
    joints = [KEYPOINT_NAMES.index(name) for name in ("Neck", "RElbow", "LElbow", "RKnee", "LKnee", "LAnkle")]
    for seed in range(20):
        portrait = view(seed, framing="portrait")
        for x, y in portrait.keypoints[0, joints, :2]:
            if 0 <= x < 128 and 0 <= y < 128:
                hits.append(portrait.instance[int(y), int(x)] == 1)
    assert len(hits) > 100
    assert np.mean(hits) > 0.95


def test_keypoints_are_those_of_the_person_with_that_number() -> None:
    necks = []
    for seed in range(12):
        several = view(seed, framing="several")
        for person, (x, y) in enumerate(several.keypoints[:, KEYPOINT_NAMES.index("Neck"), :2]):
            if 0 <= x < 128 and 0 <= y < 128:
                necks.append(several.instance[int(y), int(x)] == person + 1)
    assert len(necks) > 20
    assert np.mean(necks) > 0.8  # the others are covered


def test_people_are_drawn_far_to_near() -> None:
    for seed in range(10):
        depth = view(seed, framing="several").far_to_near[:, KEYPOINT_NAMES.index("RHip"), 3]
        assert np.all(np.diff(depth) < 0.5)


def test_garments_have_the_colours_of_the_caption() -> None:
    for seed in range(20):
        portrait = view(seed, framing="portrait")
        look = portrait.looks[0]
        for region, word in ((UPPER_BODY, look.shirt), (LOWER_BODY, look.trousers)):
            mean = portrait.picture[portrait.region == region].mean(axis=0)
            shades = {name: np.linalg.norm(mean - 0.88 * np.array(colour)) for name, colour in GARMENT_COLOURS.items()}
            assert min(shades, key=shades.__getitem__) == word
            assert word in portrait.caption


PLAIN = Look(noun="person", shirt="orange", trousers="blue", hair="brown", skin=0, short_sleeves=False)


def portray(look: Look, seed: int = 0, scene: str = "plain") -> Rendering:
    """One person at 2.5 m in a pose and a light that depend on `seed` alone."""
    random = np.random.default_rng(seed)
    camera = Camera(width_px=192, height_px=128, focal_px=130, centre_x_px=96, horizon_y_px=50, height_m=1.3)
    return compose_view(camera, [pose_body(random, 0.0, 2.5, 1.7)], [look], scene, random)


def test_usual_caption() -> None:
    assert describe_person(PLAIN) == "a person with an orange shirt, blue trousers and brown hair"
    dressed = replace(PLAIN, garment="dress", trousers="orange", hair_length="long", hat="cap", hat_colour="green")
    assert describe_person(dressed) == "a person with an orange dress, long brown hair and a green cap"
    carrying = replace(PLAIN, garment="skirt", prop="ball", prop_colour="red")
    assert describe_person(carrying) == "a person with an orange shirt, a blue skirt and brown hair, holding a red ball"


def test_every_look_can_be_told_from_its_picture() -> None:
    plain = portray(PLAIN)
    changes = [
        {"garment": "shorts"}, {"garment": "skirt"}, {"hair_length": "long"}, {"hair_length": "curly"}, {"hat": "hat"},
        {"hat": "cap"}, {"prop": "ball"}, {"prop": "bag"}, {"prop": "backpack"}, {"short_sleeves": True},
    ]  # fmt: skip
    for change in changes:
        other = portray(replace(PLAIN, **change))
        assert np.count_nonzero(np.abs(other.picture.astype(int) - plain.picture).sum(-1) > 60) > 15, change
        carried = np.count_nonzero(other.region == THINGS)
        assert carried > 15 if {"hat", "prop"} & set(change) else carried == 0


def test_bodies_are_brighter_where_the_light_comes_from() -> None:
    random, sides = np.random.default_rng(1), dict.fromkeys(LIGHTS, 0)
    for seed in range(12):
        seen = portray(replace(draw_look(random), shirt="white"), seed)
        sides[seen.light] += 1
        chest = (seen.region == UPPER_BODY) & (np.abs(seen.normal[..., 0]) > 0.4)
        light, right = seen.picture.mean(-1), seen.normal[..., 0] > 0
        difference = light[chest & right].mean() - light[chest & ~right].mean()
        if seen.light != "front":
            assert difference > 15 if seen.light == "right" else difference < -15
    assert all(sides.values())


def test_depth_and_normals() -> None:
    seen = portray(PLAIN)
    person, ground = seen.instance == 1, (seen.instance == 0) & (np.arange(128)[:, None] > 50)
    assert 2 < np.median(seen.depth[person]) < 3
    assert np.allclose(seen.depth[127, 0], 130 * 1.3 / (127.5 - 50))
    assert np.isinf(seen.depth[:49][seen.instance[:49] == 0]).all()
    assert np.allclose(np.linalg.norm(seen.normal[~person], axis=-1), 1)
    assert np.all(seen.normal[ground] == (0, 1, 0))
    assert seen.normal[person][:, 2].mean() > 0.5  # what is seen faces the camera


def test_shadows_fall_on_the_ground_only() -> None:
    random = np.random.default_rng(0)
    camera = Camera(width_px=192, height_px=128, focal_px=130, centre_x_px=96, horizon_y_px=50, height_m=1.3)
    lit = portray(PLAIN)
    pose_body(random, 0.0, 2.5, 1.7)
    empty = compose_view(camera, [], [], "plain", random)
    darker = empty.picture.mean(-1) - lit.picture.mean(-1) > 15
    assert not darker[:50][lit.instance[:50] == 0].any()
    assert np.count_nonzero(darker[50:] & (lit.instance[50:] == 0)) > 100


def test_people_from_left() -> None:
    instance = np.zeros((4, 8), np.uint8)
    instance[:, 6:], instance[:, 1:3] = 1, 2
    assert people_from_left(instance) == [1, 0]
