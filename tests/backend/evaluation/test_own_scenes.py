"""Scenes of one's own: what is measured of them, what is drawn again, and how they are refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from beyondscene.backend.cli import main
from beyondscene.backend.evaluation.colours import PARTS
from beyondscene.backend.evaluation.detect import NetJudge
from beyondscene.backend.evaluation.fixed_scenes import FixedScene, draw_scene
from beyondscene.backend.evaluation.measure import measure_picture
from beyondscene.backend.evaluation.own_scenes import gather_scenes
from beyondscene.backend.evaluation.run import reseed
from beyondscene.backend.evaluation.scenes import EvaluationScene, write_scene
from beyondscene.backend.evaluation.summary import summarise
from beyondscene.backend.evaluation.wishes import read_wishes, visible_parts
from beyondscene.backend.mannequins.looks import GARMENT_COLOURS, describe_person, draw_look
from beyondscene.backend.mannequins.raster import UPPER_BODY
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.outputs import read_record, restore_request
from beyondscene.protocol import KEYPOINT_NAMES, RenderRequest, RenderSettings, describe_array, load_request, save_request
from msgspec.structs import replace
from PIL import Image

from .conftest import CPU, Oracle
from .test_evaluate import refusal, run

EMBEDDED_PX, TINY_PX = 256, 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scene with its truth, and one that is a request alone."""
    write_scene(draw_scene(1, TINY_PX), tmp_path / "scenes")
    save_request(tmp_path / "scenes" / "alone.json", draw_scene(0, TINY_PX).request, {})
    return tmp_path / "scenes"


@pytest.fixture
def command(tiny_models: ModelSet, judge_folder: Path, folder: Path, tmp_path: Path) -> list[str]:
    told = ["--models", str(tiny_models.folder), "--judge", str(judge_folder), "--out", str(tmp_path / "out"), "--steps", "2"]
    return ["evaluate", *told, "--scenes", str(folder), "--json", "--method", "upscale"]


def test_a_scene_and_its_truth_come_back_from_their_files(scene: FixedScene, judge_folder: Path, tmp_path: Path) -> None:
    write_scene(scene, tmp_path)
    own = gather_scenes(tmp_path, EMBEDDED_PX)
    assert own.names == (scene.name,) and own.with_truth and own.growth(scene.name) == 4
    read, judge = own.open(scene.name), NetJudge(judge_folder, CPU)
    picture = np.roll(scene.truth.picture, 9, axis=1)
    first, second = (measure_picture(judge, one, picture, "upscale", EMBEDDED_PX) for one in (scene, read))
    assert read.request == scene.request and first == second
    assert first.sharpness is not None and any(person.colours for person in first.people)


def test_of_a_request_alone_is_measured_what_it_says(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (told,) = run(command, capsys)
    assert (told["scenes"], told["people"]) == (2, 3) and "true_renders" not in told and told["judge"].startswith("judge ")
    assert 0 <= told["missing_rate"] <= 1 and told["seam_score"] > 0 and told["seconds"] > 0
    assert told["sharpness"] is not None  # of the one with a truth
    shutil.rmtree(folder / "scene-01")
    (told,) = run(command, capsys)
    for name in ("background_accuracy", "sharpness", "patch_distance"):
        assert told[name] is None and told["ci95"][name] is None
    assert told["scenes"] == 1 and [*told["leakage_matrices"]] == ["alone"] and told["garment_accuracy"] is not None
    table = (tmp_path / "out" / "results.md").read_text()
    assert "only the requests are known" in table and "| truth" not in table and "sharpness |" not in table
    assert 'src="pictures/upscale/alone.png"' in (tmp_path / "out" / "index.html").read_text()


def test_only_scenes_that_are_new_or_have_changed_are_drawn(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(command, capsys)
    pictures = tmp_path / "out" / "pictures" / "upscale"
    drawn = {path.stem: path.stat().st_mtime_ns for path in pictures.iterdir()}
    save_request(folder / "another.json", draw_scene(0, TINY_PX).request, {})
    request, _ = load_request(folder / "alone.json")
    save_request(folder / "alone.json", replace(request, prompt="a snowy field"), {})
    (told,) = run(command, capsys)
    now = {path.stem: path.stat().st_mtime_ns for path in pictures.iterdir()}
    assert told["scenes"] == 3 and now["scene-01"] == drawn["scene-01"] and now["alone"] > drawn["alone"] and "another" in now


def test_a_truth_that_has_changed_is_judged_anew(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder / "scene-01")
    write_scene(draw_scene(1, TINY_PX), folder)
    (folder / "alone.json").unlink()
    (first,) = run(command, capsys)
    truth = folder / "scene-01" / "truth.png"
    with Image.open(truth) as image:
        flat = np.full_like(np.asarray(image), 128)
    Image.fromarray(flat).save(truth)
    (second,) = run(command, capsys)
    assert second["sharpness"] > 10 * first["sharpness"] and second["seam_score"] == first["seam_score"]


def test_masks_are_drawn_with_and_kept_with_the_picture(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request, _ = load_request(folder / "alone.json")
    mask = np.zeros((request.height, request.width), np.uint8)
    mask[16:112, 40:88] = 255
    reference = describe_array(mask)
    masked = replace(request, characters=(replace(request.characters[0], mask=reference),))
    save_request(folder / "masked.json", masked, {reference.digest: mask})
    run(command, capsys)
    pictures = tmp_path / "out" / "pictures" / "upscale"
    made, arrays = restore_request(read_record(pictures / "masked.png"))
    assert made.characters[0].mask == reference and (arrays[reference.digest] == mask).all()
    assert (pictures / "masked.png").read_bytes() != (pictures / "alone.png").read_bytes()
    with Image.open(pictures / "masked.png") as one, Image.open(pictures / "alone.png") as other:
        assert (np.asarray(one) != np.asarray(other)).any()


def test_who_cannot_be_seen_in_the_plan_is_not_judged(scene: FixedScene) -> None:
    people = scene.request.characters
    nowhere = tuple(replace(joint, x=joint.x - 600, state="outside") for joint in people[1].keypoints)
    covered = tuple(replace(joint, state="occluded") for joint in people[2].keypoints)
    characters = (people[0], replace(people[1], keypoints=nowhere), replace(people[2], keypoints=covered))
    hidden = EvaluationScene("hidden", replace(scene.request, characters=characters), None)
    for found in ([0], [0, 2]):  # to be found all the same is no fault, either
        score = measure_picture(Oracle(scene, found), hidden, scene.truth.picture, "truth", EMBEDDED_PX)
        assert (score.planned, score.missing, score.extra) == (1, 0, 0)
        assert [person.judged for person in score.people] == [True, False, False]
        told = summarise("truth", [score])
        assert (told["people"], told["missing_rate"], told["pose_oks"]) == (1, 0, pytest.approx(1))


@pytest.mark.parametrize("masked", [False, True])
def test_colours_that_prompts_name_are_judged_without_a_truth(scene: FixedScene, masked: bool) -> None:
    """In people's masks, or around their bones: shirts that were swapped are found on the wrong people."""
    people, arrays = scene.request.characters, {}
    if masked:
        bodies = [np.where(scene.truth.instance == number, 255, 0).astype(np.uint8) for number in (1, 2, 3)]
        references = [describe_array(body) for body in bodies]
        arrays = {reference.digest: body for reference, body in zip(references, bodies, strict=True)}
        people = tuple(replace(one, mask=reference) for one, reference in zip(people, references, strict=True))
    own = EvaluationScene("own", replace(scene.request, characters=people), None, arrays)
    judge, picture = Oracle(scene, [0, 1, 2]), scene.truth.picture
    right = summarise("truth", [measure_picture(judge, own, picture, "truth", EMBEDDED_PX)])
    assert right["garment_accuracy"] == 1 and right["leakage_rate"] == 0 and right["hair_accuracy"] > 0.6
    swapped = picture.copy()
    first, second = next((i, j) for i in range(3) for j in range(3) if scene.looks[i].shirt != scene.looks[j].shirt)
    for wearer, owner in ((first, second), (second, first)):
        shirt = (scene.truth.instance == wearer + 1) & (scene.truth.region == UPPER_BODY)
        swapped[shirt] = np.array(GARMENT_COLOURS[scene.looks[owner].shirt]) * 0.88
    score = measure_picture(judge, own, swapped, "swapped", EMBEDDED_PX)
    assert {(leak.wearer, leak.owner) for leak in score.leaks} == {(first, second), (second, first)}
    silent = tuple(replace(one, prompt="somebody") for one in people)
    score = measure_picture(judge, replace_request(own, characters=silent), picture, "truth", EMBEDDED_PX)
    assert summarise("truth", [score])["garment_accuracy"] is None and not score.leaks
    of_parts = tuple(replace(one, prompt="somebody", part_prompts={"upper_body": one.prompt}) for one in people)
    score = measure_picture(judge, replace_request(own, characters=of_parts), picture, "truth", EMBEDDED_PX)
    assert summarise("truth", [score])["garment_accuracy"] == 1


def replace_request(scene: EvaluationScene, **changes: object) -> EvaluationScene:
    return dataclasses.replace(scene, request=replace(scene.request, **changes))


def test_colours_are_read_from_every_form_of_a_prompt() -> None:
    random = np.random.default_rng(5)
    for _ in range(400):
        look = draw_look(random)
        prompt = describe_person(look, random)
        wishes = read_wishes(prompt)
        named = {"shirt": look.shirt, "trousers": look.trousers}
        if " hair" in prompt or "-haired" in prompt:
            named["hair"] = look.hair
        assert wishes == named, prompt


@pytest.mark.parametrize(
    ("prompt", "wishes"),
    [
        (
            "a tall woman in a Red woollen coat and blue jeans, blonde hair",
            {"shirt": "red", "trousers": "blue", "hair": "blond"},
        ),
        ("a man with red hair and a gray t-shirt", {"hair": "ginger", "shirt": "grey"}),
        ("a red and white shirt, black/grey hair", {}),
        ("a white shirt under a blue jacket, green skirt", {"trousers": "green"}),
        ("a redhead, an orange, whitewashed shirts and a blue ball, in a green top hat", {}),
    ],
)
def test_prompts_in_ones_own_words(prompt: str, wishes: dict[str, str]) -> None:
    assert read_wishes(prompt) == wishes


def test_parts_that_the_plan_hides_are_not_judged(scene: FixedScene) -> None:
    person = scene.request.characters[0]
    assert visible_parts(replace(person, keypoints=tuple(replace(j, state="visible") for j in person.keypoints))) == {*PARTS}
    cut = tuple(
        replace(joint, state="outside" if "Knee" in name or "Ankle" in name or "Hip" in name else "visible")
        for name, joint in zip(KEYPOINT_NAMES, person.keypoints, strict=True)
    )
    assert visible_parts(replace(person, keypoints=cut)) == {"hair"}
    behind = tuple(replace(joint, state="occluded") for joint in person.keypoints)
    assert visible_parts(replace(person, keypoints=behind)) == set()


def spoil_people(folder: Path) -> None:
    file = folder / "scene-01" / "truth.json"
    told = json.loads(file.read_text())
    told["people"].reverse()
    file.write_text(json.dumps(told))


def spoil_colour(folder: Path) -> None:
    file = folder / "scene-01" / "truth.json"
    told = json.loads(file.read_text())
    told["people"][0]["look"]["hair"] = "turquoise"
    file.write_text(json.dumps(told))


def spoil_size(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "scene-01" / "truth.png")


def spoil_values(folder: Path) -> None:
    file = folder / "scene-01" / "instances.png"
    with Image.open(file) as image:
        many = np.full_like(np.asarray(image), 7)
    Image.fromarray(many).save(file)


def name_twice(folder: Path) -> None:
    shutil.copy(folder / "alone.json", folder / "scene-01.json")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "There is no folder "),
        (empty, "holds no scenes: put requests there as NAME.json or NAME/request.json; `beyondscene export` makes them"),
        (name_twice, "has both scene-01.json and scene-01/request.json: rename one of them."),
        (lambda folder: (folder / "alone.json").write_text("{"), "alone.json is "),
        (lambda folder: (folder / "scene-01" / "truth.json").write_text("{"), "truth.json is no truth of a scene: "),
        (spoil_people, "is of other people than the request beside it (['ana', 'bo'], in this order, from 1 on)."),
        (spoil_colour, "says that the hair of 'ana' is 'turquoise': known are black, brown"),
        (spoil_size, "truth.png is uint8 (8, 8, 3), where this request wants uint8 (128, 128, 3). Write the scene again"),
        (spoil_values, "has a picture of instances or regions with values of nobody and nothing."),
        (
            lambda folder: (folder / "scene-01" / "regions.png").unlink(),
            "regions.png, which truth.json speaks of, cannot",
        ),
    ],
)
def test_scenes_that_cannot_be_used_are_refused_before_anything(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object], sentence: str,
) -> None:  # fmt: skip
    spoil(folder)
    assert sentence in refusal(command, capsys)
    assert not (tmp_path / "out").exists()


def test_a_request_that_cannot_be_drawn_is_named(command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request, _ = load_request(folder / "alone.json")
    save_request(folder / "alone.json", replace(request, seed=2**63 - 1), {})
    told = refusal([*command, "--seed", "5"], capsys)
    assert told.startswith(f"beyondscene: {folder / 'alone.json'}: its seed {2**63 - 1} and --seed 5 come to over")
    own = tuple(replace(one, seed=2**63 - 2) for one in request.characters)
    save_request(folder / "alone.json", replace(request, characters=own), {})
    assert f"its seed {2**63 - 2} and --seed 5 come to over" in refusal([*command, "--seed", "5"], capsys)


def test_other_noise_is_other_noise_for_people_with_a_seed_of_their_own_too(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters
    scene = EvaluationScene("own", replace(two_people, characters=(replace(ana, seed=7), bo)), None, {})
    request = reseed(scene, 1000).request
    assert (request.seed, [one.seed for one in request.characters]) == (two_people.seed + 1000, [1007, None])


def test_settings_of_requests_are_not_held_against_them(command: list[str], folder: Path) -> None:
    """As of a Preview drawn in few steps by models that have a LoRA for it, which these have not."""
    request, _ = load_request(folder / "alone.json")
    save_request(folder / "alone.json", replace(request, settings=RenderSettings(few_steps=True)), {})
    assert main(command) == 0


@pytest.mark.parametrize("arguments", [["--set", "full"], ["--scene", "3"], ["--write-scenes", "there"]])
def test_own_scenes_and_fixed_ones_are_not_mixed(
    command: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert "--scenes names scenes of your own: leave out --set, --scene and --write-scenes." in refusal(
        [*command, *arguments], capsys
    )


def test_part_of_ones_own_scenes_is_drawn(command: list[str], tmp_path: Path) -> None:
    assert main([*command, "--part", "2/2"]) == 0
    assert [path.stem for path in (tmp_path / "out" / "pictures" / "upscale").iterdir()] == ["scene-01"]
