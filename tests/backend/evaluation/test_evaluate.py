"""The command: what it prints and writes, that it goes on where it stopped, and how it refuses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend.cli import main
from beyondscene.backend.cli.evaluate import SHOWN, tabulate
from beyondscene.backend.evaluation import run as evaluation
from beyondscene.backend.evaluation.fixed_scenes import digest_scenes
from beyondscene.backend.evaluation.judge import JudgeNet, save_net
from beyondscene.backend.evaluation.page import write_markdown, write_page
from beyondscene.backend.evaluation.results import Drawing, Header, Journal
from beyondscene.backend.evaluation.variants import ABLATIONS, read_variant
from beyondscene.backend.mannequins.backgrounds import BACKDROPS
from beyondscene.backend.models.sets import ModelSet
from beyondscene.protocol import RenderSettings
from msgspec import structs
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from .conftest import TINY_JUDGE

KEYS = {
    "method", "scenes", "people", "missing_rate", "extra_rate", "pose_pck", "garment_accuracy", "leakage_rate",
    "sharpness", "seam_score", "seconds", "ci95", "patch_distance", "true_renders",
}  # fmt: skip


@pytest.fixture
def command(tiny_models: ModelSet, judge_folder: Path, tmp_path: Path) -> list[str]:
    told = ["--models", str(tiny_models.folder), "--judge", str(judge_folder), "--out", str(tmp_path / "out"), "--steps", "2"]
    return ["evaluate", *told, "--limit", "1", "--json", "--method", "upscale"]


def run(command: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict]:
    assert main(command) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_report_and_pictures(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = run(command, capsys)
    assert set(told) >= KEYS and (told["method"], told["scenes"], told["people"]) == ("upscale", 1, 2)
    assert 0 <= told["missing_rate"] <= 1 and told["ci95"]["missing_rate"] is None  # of one scene
    assert told["seconds"] > 0 and told["sharpness"] > 0 and told["patch_distance"] > 0
    assert told["true_renders"]["judge"].startswith("judge ")
    assert {*told["true_renders"]} >= KEYS - {"method", "true_renders"}
    out = tmp_path / "out"
    with Image.open(out / "pictures" / "upscale" / "scene-01.png") as picture:
        assert picture.size == (128, 128)
        assert json.loads(picture.info["beyondscene"])["request"]["settings"]["steps"] == 2
    page = (out / "index.html").read_text()
    assert 'src="pictures/upscale/scene-01.png"' in page and 'src="pictures/truth/scene-01.png"' in page
    assert "http" not in page  # it can be sent along as it is
    table = [line for line in (out / "results.md").read_text().splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in table] == 2 * ["method", "---", "truth", "upscale"]  # all sizes, and 4x
    assert len({row.count("|") for row in table[:4]}) == 1
    assert told["by_size"]["4x"]["missing_rate"] == told["missing_rate"]
    with Image.open(out / "cases.jpg") as cases:
        assert cases.size == (600, 342)  # best and worst of the one method


def test_json_tells_whose_colours_ended_on_whom(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """People by people for each scene, of each method and of the true renders."""
    (told,) = run(command, capsys)
    for matrix in (told["leakage_matrices"]["scene-01"], told["true_renders"]["leakage_matrices"]["scene-01"]):
        assert np.array(matrix).shape == (told["people"], told["people"])


def test_photographs_are_not_judged_by_the_mannequins_judge_unasked(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unnamed = [word for word in command if word != "--judge" and not word.startswith(command[4])]
    sentence = refusal(unnamed, capsys)
    assert "knows the mannequins of the embedded model, not pictures of 'tiny': choose --judge public" in sentence
    assert not (tmp_path / "out").exists()


def test_goes_on_where_it_stopped(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (first,) = run(command, capsys)
    results, picture = find_results(tmp_path), tmp_path / "out" / "pictures" / "upscale" / "scene-01.png"
    lines, drawn = results.read_bytes(), picture.stat().st_mtime_ns
    assert run(command, capsys) == [first]
    assert results.read_bytes() == lines and picture.stat().st_mtime_ns == drawn
    more = run([*command, "--method", "direct"], capsys)
    assert [one["method"] for one in more] == ["upscale", "direct"] and more[0] == first
    assert results.read_bytes().startswith(lines) and len(results.read_bytes().splitlines()) == 4
    picture.unlink()  # what is gone is drawn again
    assert run(command, capsys)[0]["sharpness"] == first["sharpness"] and picture.exists()


def test_the_same_scenes_are_drawn_from_other_noise(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(command, capsys)
    assert "has results with seed = 0, but now it is 100: name another" in refusal([*command, "--seed", "100"], capsys)
    run([*command, "--seed", "100", "--out", str(tmp_path / "again")], capsys)
    seeds, pixels = [], []
    for folder in ("out", "again"):
        with Image.open(tmp_path / folder / "pictures" / "upscale" / "scene-01.png") as picture:
            seeds.append(json.loads(picture.info["beyondscene"])["request"]["seed"])
            pixels.append(np.array(picture))
    assert seeds == [1, 101] and (pixels[0] != pixels[1]).any()
    truths = [(tmp_path / folder / "pictures" / "truth" / "scene-01.png").read_bytes() for folder in ("out", "again")]
    assert truths[0] == truths[1]


def test_methods_are_told_beside_ours_where_that_is_among_them(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "out" / "results.md"
    (alone,) = run(command, capsys)
    assert "beside_beyondscene" not in alone and "Beside" not in table.read_text()
    ours, other = run(["evaluate", "--method", "beyondscene", *command[1:]], capsys)
    assert (ours["method"], other["method"]) == ("beyondscene", "upscale") and "beside_beyondscene" not in ours
    told = other["beside_beyondscene"]
    assert set(told) == {"missing_rate", "extra_rate", "pose_pck", "garment_accuracy", "hair_accuracy", "leakage_rate"}
    for name, value in told.items():
        if ours[name] is None or other[name] is None:
            assert value is None
        else:
            assert value["difference"] == pytest.approx(other[name] - ours[name], abs=2e-4)
    _, _, after = table.read_text().partition("## Beside beyondscene, same scenes\n\n")
    rows = after.splitlines()
    heads = {"missing_rate": "missing", "extra_rate": "extra", "pose_pck": "PCK", "garment_accuracy": "garments",
             "hair_accuracy": "hair", "leakage_rate": "leakage"}  # fmt: skip
    assert rows[0] == " | ".join(["| method", *(heads[name] for name in heads if told[name])]) + " |"
    assert rows[2].startswith("| upscale | ") and not rows[3].startswith("|")


def find_results(folder: Path) -> Path:
    (results,) = (folder / "out").glob("results-*.jsonl")
    return results


def test_processes_share_a_folder_and_a_last_run_reports(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command[command.index("--limit") + 1] = "2"
    program = [sys.executable, "-m", "beyondscene.backend", *command]
    parts = [subprocess.Popen([*program, "--part", f"{part}/2"]) for part in (1, 2)]
    assert [part.wait() for part in parts] == [0, 0]
    pictures = sorted((tmp_path / "out" / "pictures" / "upscale").iterdir())
    drawn = [picture.stat().st_mtime_ns for picture in pictures]
    assert [picture.stem for picture in pictures] == ["scene-01", "scene-10"]
    assert not (tmp_path / "out" / "results.md").exists()
    (told,) = run(command, capsys)
    assert told["scenes"] == 2 and [picture.stat().st_mtime_ns for picture in pictures] == drawn


def test_journals_begun_at_the_same_moment_are_one(tmp_path: Path) -> None:
    header = Header(models="m", steps=1, guidance_scale=1, guide_pose=False, device="cpu", precision="float32")
    path = tmp_path / "drawn.jsonl"
    Journal(path, header, Drawing).add(Drawing(method="a", scene="1", seconds=1, digest=""))
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    Journal(path, header, Drawing).add(Drawing(method="b", scene="1", seconds=1, digest=""))
    assert [*Journal(path, header, Drawing).lines] == [("a", "1"), ("b", "1")]


def test_drawn_first_and_judged_later_by_more_than_one(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--draw-only"]) == 0
    picture = tmp_path / "out" / "pictures" / "upscale" / "scene-01.png"
    drawn = picture.stat().st_mtime_ns
    told = capsys.readouterr()
    assert told.out == "" and not list((tmp_path / "out").glob("results*"))
    assert "picture 1 of 2: truth, scene-01\npicture 2 of 2: upscale, scene-01\n" in told.err  # a log shows no bar
    (first,) = run(command, capsys)
    assert first["seconds"] > 0
    torch.manual_seed(1)
    save_net(JudgeNet(TINY_JUDGE), tmp_path / "other")
    (second,) = run([*command, "--judge", str(tmp_path / "other")], capsys)
    assert second["true_renders"]["judge"] != first["true_renders"]["judge"]
    assert second["seconds"] == first["seconds"] and second["patch_distance"] == first["patch_distance"]
    assert picture.stat().st_mtime_ns == drawn
    assert len(list((tmp_path / "out").glob("results-*.jsonl"))) == 2


def test_a_variant_is_drawn_with_its_settings(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variant = "upscale+clahe_clip_limit=0+prepend_global=false"
    plain, varied = run([*command, "--method", variant], capsys)
    assert (plain["method"], varied["method"]) == ("upscale", variant) and plain["sharpness"] != varied["sharpness"]
    with Image.open(tmp_path / "out" / "pictures" / variant / "scene-01.png") as picture:
        settings = json.loads(picture.info["beyondscene"])["request"]["settings"]
    assert settings["clahe_clip_limit"] == 0 and settings["prepend_global"] is False


def test_few_steps_are_drawn_by_every_method_or_refused(
    command: list[str], few_step_set: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "names no LoRA for few steps" in refusal([*command, "--few-steps"], capsys)
    lacking = Path(shutil.copytree(few_step_set.folder, tmp_path / "lacking"))
    shutil.rmtree(lacking / "few_steps")
    without = [*command[:1], "--models", str(lacking), *command[3:], "--few-steps"]
    assert "lacks its LoRA for few steps" in refusal([word for word in without if word not in ("--steps", "2")], capsys)
    assert not (tmp_path / "out").exists()
    plain = [*command[:1], "--models", str(few_step_set.folder), *command[3:-2], "--draw-only", "--method", "upscale"]
    plain = [word for word in plain if word not in ("--steps", "2")]
    assert main([*plain, "--method", "direct", "--few-steps"]) == 0
    for method in ("upscale", "direct"):
        with Image.open(tmp_path / "out" / "pictures" / method / "scene-01.png") as picture:
            told = json.loads(picture.info["beyondscene"])["request"]["settings"]
        assert (told["few_steps"], told["steps"], told["guidance_scale"], told["scheduler"]) == (True, 2, 1.0, "euler")
    capsys.readouterr()
    assert "has results with steps = 2, but now it is" in refusal(plain, capsys)
    assert "has results with few_steps = True, but now it is False" in refusal([*plain, "--steps", "2"], capsys)


def test_a_variant_that_the_model_set_cannot_draw_is_refused_before_anything(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "names no LoRA for few steps" in refusal([*command, "--method", "beyondscene+few_steps=true"], capsys)
    assert not (tmp_path / "out").exists()


def test_every_ablation_changes_a_setting() -> None:
    settings = RenderSettings(t_b=0.25)
    changed = [read_variant(variant, settings) for variant in ABLATIONS]
    assert {method for method, _ in changed} == {"beyondscene"}
    assert all(told != settings for _, told in changed)
    assert len({str(told) for _, told in changed}) == len(ABLATIONS)


@pytest.mark.parametrize("value", ["0.1..0.8", "0.1,0.8"])
def test_two_numbers_are_written_with_dots_or_a_comma(value: str) -> None:
    _, settings = read_variant(f"beyondscene+guidance_interval={value}+steps=3", RenderSettings())
    assert (settings.guidance_interval, settings.steps) == ((0.1, 0.8), 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "guidance_interval=0.1",
            r"the value '0\.1': Expected `array` of length 2.*; write it as guidance_interval=0\.0\.\.1\.0\.$",
        ),
        ("guidance_interval=0.1..2", r"Expected `float` <= 1.*; write it as guidance_interval="),
        ("guidance_interval=low..high", r"Expected `float`.*; write it as guidance_interval="),
        ("guidance_interval=0.8..0.1", r"goes from 0\.8 to 0\.1, but the first share must be the smaller"),
        ("stride_instance=96", r"stride_instance is 96, above stride_background 64"),
        ("few_steps=perhaps", r"the value 'perhaps': Expected `bool"),
    ],
)
def test_variants_that_cannot_be_drawn_are_refused_in_a_sentence(change: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_variant(f"beyondscene+{change}", RenderSettings())


def test_results_of_another_kind_or_cut_off_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(command, capsys)
    results = find_results(tmp_path)
    whole = results.read_bytes()
    other = refusal([*command, "--steps", "3"], capsys)
    assert other.endswith("has results with steps = 2, but now it is 3: name another folder with --out.")
    results.write_bytes(whole[:-20])
    assert "is cut off in line 3: delete that line" in refusal(command, capsys)
    results.write_bytes(whole.splitlines(keepends=True)[0] + b'{"method": 3}\n')
    assert "line 2 is no SceneScore" in refusal(command, capsys)
    results.write_bytes(b"")  # another process has just made it
    assert len(run(command, capsys)) == 1
    results.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))  # the line deleted, as advised
    assert len(run(command, capsys)) == 1


def test_results_of_other_weights_or_an_older_format_are_refused(
    command: list[str], tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sets of one name with different weights are two models."""
    run(command, capsys)
    retrained = Path(shutil.copytree(tiny_models.folder, tmp_path / "retrained"))
    run([*command, "--models", str(retrained)], capsys)  # the same weights at another place
    weights = next((retrained / "unet").glob("*.safetensors"))
    tensors = load_file(weights)
    tensors["conv_out.bias"] += 1
    save_file(tensors, weights, {"format": "pt"})
    sentence = refusal([*command, "--models", str(retrained)], capsys)
    assert re.search(r"has results with weights = \w{16}, but now it is \w{16}: name another folder with --out\.$", sentence)
    drawn = tmp_path / "out" / "drawn.jsonl"
    header, *lines = drawn.read_bytes().splitlines(keepends=True)
    old = {name: value for name, value in json.loads(header).items() if name != "weights"} | {"format": 3}
    drawn.write_bytes(json.dumps(old).encode() + b"\n" + b"".join(lines))
    assert "has results with format = 3, but now it is 6: name another folder" in refusal(command, capsys)


@pytest.mark.parametrize(("name", "was"), [("version", "0.0.9"), ("device_name", "another"), ("vae_precision", "bfloat16")])
def test_results_of_another_version_machine_or_precision_of_the_vae_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, was: str
) -> None:
    run(command, capsys)
    drawn = tmp_path / "out" / "drawn.jsonl"
    header, *lines = drawn.read_bytes().splitlines(keepends=True)
    drawn.write_bytes(json.dumps(json.loads(header) | {name: was}).encode() + b"\n" + b"".join(lines))
    assert f"has results with {name} = {was}, but now it is" in refusal(command, capsys)


@pytest.mark.parametrize("changed", ["backend/pipeline/inject.py", "backend/pose.py", "protocol/skeleton.py"])
def test_results_of_other_code_are_refused(
    changed: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody changes a stage, or how skeletons are drawn, and wants to see what it does."""
    run(command, capsys)
    for half in ("backend", "protocol"):
        shutil.copytree(evaluation.ROOT / half, tmp_path / "code" / half, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(evaluation, "ROOT", tmp_path / "code")
    with (tmp_path / "code" / changed).open("a") as source:
        source.write("# another one")
    evaluation.digest_code.cache_clear()
    try:
        assert "has results with version = " in refusal(command, capsys)
    finally:
        evaluation.digest_code.cache_clear()


def test_a_method_that_draws_no_picture_is_told_so_and_nothing_is_kept(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.evaluation.methods.direct.draw", lambda *_: np.zeros((8, 8, 3), np.float32))
    assert "direct draws float32 (8, 8, 3), but it is to return uint8 (" in refusal([*command[:-1], "direct"], capsys)
    assert not (tmp_path / "out" / "pictures" / "direct" / "scene-01.png").exists()


def test_single_scenes_can_be_named(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = run([*command, "--scene", "9"], capsys)
    assert told["scenes"] == 1 and [one.stem for one in (tmp_path / "out" / "pictures" / "upscale").iterdir()] == ["scene-09"]


def test_results_of_other_scenes_are_refused(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first scene stays as it was."""
    run(command, capsys)
    monkeypatch.setitem(BACKDROPS, "forest", structs.replace(BACKDROPS["forest"], things=()))
    digest_scenes.cache_clear()
    try:
        assert "has results with scenes = " in refusal(command, capsys)
    finally:
        digest_scenes.cache_clear()


def test_results_of_other_advice_are_refused(
    command: list[str], tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a set recommends is in its pictures, too."""
    run(command, capsys)
    changed = Path(shutil.copytree(tiny_models.folder, tmp_path / "changed"))
    manifest = json.loads((changed / "modelset.json").read_text())
    (changed / "modelset.json").write_text(json.dumps(manifest | {"t_b": 0.35}))
    assert "has results with advice = " in refusal([*command, "--models", str(changed)], capsys)


def test_a_picture_that_was_drawn_again_is_judged_again(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = run(command, capsys)
    (tmp_path / "out" / "pictures" / "upscale" / "scene-01.png").unlink()
    grey = np.full((128, 128, 3), 128, np.uint8)
    monkeypatch.setattr("beyondscene.backend.evaluation.methods.upscale.draw", lambda *_: grey)
    assert main([*command, "--draw-only"]) == 0
    capsys.readouterr()
    (second,) = run(command, capsys)
    assert first["sharpness"] > 0 and second["sharpness"] == 0


def test_a_method_that_breaks_off_leaves_the_others_as_they_are(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise torch.OutOfMemoryError("of the device")

    monkeypatch.setattr("beyondscene.backend.evaluation.methods.direct.draw", break_off)
    assert main([*command, "--method", "direct"]) == 1
    told = capsys.readouterr()
    assert "direct broke off at scene-01 with OutOfMemoryError: of the device. It is left out." in " ".join(told.err.split())
    assert [json.loads(line)["method"] for line in told.out.splitlines()] == ["upscale"]
    assert "| upscale" in (tmp_path / "out" / "results.md").read_text()
    alone = [*command[:-1], "direct"]
    assert main(alone) == 1 and capsys.readouterr().out == ""
    monkeypatch.undo()
    assert [one["method"] for one in run([*command, "--method", "direct"], capsys)] == ["upscale", "direct"]


def refusal(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(command) == 2
    *pictures, sentence = capsys.readouterr().err.strip().splitlines()
    assert all(line.startswith("picture ") for line in pictures)
    return sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--method", "magic"], "There is no method 'magic': known are direct"),
        (["--models", "nowhere"], "There is no model set 'nowhere'"),
        (["--method", "upscale+magic=1"], "'upscale+magic=1' sets 'magic', which is no setting: write NAME=VALUE with"),
        (["--method", "upscale+t_b=2"], "'upscale+t_b=2' gives t_b the value '2'"),
        (["--method", "upscale+perturb"], "sets 'perturb', which is no setting"),
        (["--part", "2/2"], "--part splits 2 ways what is 1 in all: name at most as many parts as scenes."),
        (["--judge", "nowhere"], "nowhere holds no judge"),
        (["--judge", "public"], "is not on this machine: run `hf download"),
        (["--write-scenes", "scenes", "--models", "nowhere"], "nowhere is no model set"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert sentence in refusal([*command, *arguments], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--steps", "1000"], ["--part", "3/2"], ["--part", "half"], ["--scene", "64"]]
)
def test_numbers_are_refused_while_the_command_is_read(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["evaluate", *arguments])
    assert refused.value.code == 2 and f"'{arguments[1]}' is no " in capsys.readouterr().err


def test_the_report_of_a_model_in_any_script_is_utf_8_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")  # as where the locale has no more
    summaries: list[dict] = [{"method": "truth", "scenes": 0, "ci95": {}, "by_size": {}}]
    write_markdown(tmp_path / "results.md", "モデル", "", summaries)
    write_page(tmp_path / "index.html", "モデル", "", summaries, {})
    for name in ("results.md", "index.html"):
        assert "モデル" in (tmp_path / name).read_text("utf-8")


def test_table_for_people(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.remove("--json")
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out == "" and "truth" in told.err and "upscale" in told.err and "index.html" in told.err


def test_variants_can_be_told_apart_in_a_terminal_of_80_columns() -> None:
    methods = [f"beyondscene+inpaint_people={people}" for people in ("everything", "nothing")]
    summaries = [dict.fromkeys(SHOWN, 0.123456) | {"own_prompt_rate": None, "method": method} for method in methods]
    with (console := Console(width=80)).capture() as captured:
        console.print(tabulate(summaries))
    names = "".join(line[:15].strip() for line in captured.get().splitlines()[1:])
    assert names == "".join(methods)
