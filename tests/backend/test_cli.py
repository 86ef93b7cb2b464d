"""The command line: what it prints, what it writes, and how it refuses."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from beyondscene.backend.cli import answer, info, main, render, source, target, worker
from beyondscene.backend.cli import serve as cli_serve
from beyondscene.backend.cli.jobs import say_when
from beyondscene.backend.gateway import ServeSettings
from beyondscene.backend.memory import what_would_load
from beyondscene.backend.models.fingerprint import fingerprint_weights
from beyondscene.backend.models.hub import hub_snapshot
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.outputs import Picture, make_record, most_bytes, write_picture
from beyondscene.backend.processes import TORCHRUN, place_among_processes
from beyondscene.backend.version import app_version
from beyondscene.protocol import (
    Refusal,
    RenderRequest,
    RenderSettings,
    describe_array,
    digest_of,
    load_request,
    resized,
    save_request,
)
from beyondscene.protocol.codec import arrays_folder
from msgspec.structs import replace
from PIL import Image


def test_render_writes_the_picture_and_tells_machines_about_it(
    request_file: Path,
    tiny_models: ModelSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), errors="backslashreplace"))  # as a process has it
    output = tmp_path / "new folder" / os.fsdecode(b"not utf-8 \xff.png")
    command = ["render", str(request_file), "-o", str(output), "--models", str(tiny_models.folder), "--seed", "3", "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["output"] == str(output.with_name("not utf-8 \N{REPLACEMENT CHARACTER}.png"))
    assert (told["width"], told["height"], told["seed"], told["models"]) == (192, 128, 3, "tiny")
    assert told["digest"] == digest_of(output.read_bytes())
    assert told["settings"]["steps"] == 4 and told["settings"]["guidance_scale"] == 2.0
    assert {time["stage"] for time in told["times"]} >= {"load", "instances", "inpaint", "enlarge", "write"}
    with Image.open(output) as picture:
        assert picture.size == (192, 128)
        held = json.loads(picture.info["beyondscene"])
        assert "trainedAlgorithmicMedia" in picture.info["XML:com.adobe.xmp"]
    assert "base/unet/diffusion_pytorch_model.safetensors" in held["weights"]
    repeated = msgspec.convert(held["request"], RenderRequest)
    assert repeated.seed == 3 and repeated.settings.steps == 4


def test_size_scales_the_scene(
    request_file: Path, tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out [final] :key:.png"
    command = ["render", str(request_file), "-o", str(output), "--models", str(tiny_models.folder), "--size", "96x64"]
    assert main([*command, "--precision", "bfloat16", "--offload", "networks"]) == 0
    assert f"{output}: 96x64 in " in capsys.readouterr().err
    with Image.open(output) as picture:
        assert picture.size == (96, 64)
        assert "bfloat16" in json.loads(picture.info["beyondscene"])["made_with"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "192x192"], "would stretch the people in it: use 192x128 or 288x192"),
        (["--size", "100x64"], "use 96x64, or export"),
        (["--size", "100x100"], "use 96x64 or 144x96, or export"),
        (["--size", "60000x60000"], "use 60000x40000 or 65528x43688, or export"),
        (["--size", "190x128"], "The width is 190 px, but it must be a multiple of 8"),
        (["--models", "nowhere"], "There is no model set 'nowhere'"),
        (["--models", ""], "is no model set: it has no readable modelset.json"),
        (["-o", "out.jpg"], "end the name in .png, .tif, .tiff, .exr"),
        (["--device", "cuda:9"], "'cuda:9'"),
        (["--device", "cpu", "--precision", "float16"], "float16 is for GPUs"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_file(
    request_file: Path, tmp_path: Path, tiny_models: ModelSet, capsys: pytest.CaptureFixture[str], arguments: list[str],
    sentence: str,
) -> None:  # fmt: skip
    output = tmp_path / "out.png"
    command = ["render", str(request_file), "-o", str(output), "--models", str(tiny_models.folder), *arguments]
    assert main(command) == 2
    words = capsys.readouterr().err.strip().splitlines()
    assert len(words) == 1 and sentence in words[0]
    assert not output.exists()


def test_a_backdrop_is_what_the_background_is_drawn_from(
    request_file: Path, tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, plain, output = tmp_path / "place.jpg", tmp_path / "plain.png", tmp_path / "out.png"
    Image.new("L", (80, 80)).save(square := tmp_path / "square.png")
    Image.new("I;16", (96, 64)).save(deep := tmp_path / "deep.png")
    Image.effect_mandelbrot((3000, 2000), (-2, -1, 1, 1), 20).save(place)
    source = ["--models", str(tiny_models.folder), str(request_file)]
    assert main(["render", *source, "-o", str(plain)]) == 0
    assert main(["render", *source, "-o", str(output), "--backdrop", str(place), "--backdrop-strength", "0.3"]) == 0
    with Image.open(plain) as without, Image.open(output) as drawn:
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(without)).mean() > 1
    assert main(["export", "--from-image", str(output), "-o", str(tmp_path / "again.json")]) == 0
    again, arrays = load_request(tmp_path / "again.json")
    assert again.backdrop and again.backdrop.strength == 0.3 and arrays[again.backdrop.image.digest].shape == (1024, 1536, 3)
    assert main(["render", "--from-image", str(output), "-o", str(plain), "--models", str(tiny_models.folder)]) == 0
    assert plain.read_bytes() == output.read_bytes()
    capsys.readouterr()
    for options, sentence in (
        (["--backdrop", str(tmp_path / "gone.png")], "gone.png cannot be read as a picture"),
        (["--backdrop", str(request_file)], "cannot be read as a picture"),
        (["--backdrop-strength", "0.3"], "is of a backdrop, and there is none: name one with --backdrop IMAGE"),
        (["--backdrop", str(deep)], f"beyondscene: {deep} has more than 8 bits per channel (I;16): save it with 8."),
        (["--backdrop", str(square)], "square.png is 80x80 px, of other proportions than the picture's 192x128: cut it"),
    ):
        assert main(["check", *source, *options]) == 2
        assert sentence in capsys.readouterr().err


def test_a_backdrop_is_read_once_for_all_frames(
    request_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, plain = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or plain(path))
    for number in (1, 2):
        shutil.copy(request_file, tmp_path / f"shot.{number}.json")
    Image.new("RGB", (96, 64)).save(place := tmp_path / "place.png")
    assert main(["check", str(tmp_path / "shot.#.json"), "--frames", "1-2", "--backdrop", str(place)]) == 0
    assert opened == [place]
    Image.new("RGB", (64, 64)).save(square := tmp_path / "square.png")
    (tmp_path / "scene.blend").touch()
    assert main(["check", str(tmp_path / "scene.blend"), "--size", "192x128", "--backdrop", str(square)]) == 2
    assert "of other proportions" in capsys.readouterr().err  # before Blender finds out that this is no scene


@pytest.mark.filterwarnings("error")
def test_a_backdrop_of_any_size_is_read_or_refused_without_talk_of_an_attack(
    request_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beyond this many pixels Pillow warns, and beyond twice as many it raises: 12000x12000 and 16384x16384 of its own."""
    for limit_px, code in ((96 * 63, 0), (96 * 31, 2)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit_px)
        Image.new("RGB", (96, 64)).save(place := tmp_path / f"{limit_px}.png")
        assert main(["check", str(request_file), "--backdrop", str(place)]) == code
    told = capsys.readouterr().err
    assert told == f"beyondscene: {place} is too large to be read: save it smaller, 1024 px of its shorter side will do.\n"


def test_a_backdrop_of_bad_exif_is_refused(request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turned, width = b"\1\x12\0\3\0\0\0\1\0\6\0\0", b"\1\0\0\7\0\0\0\1\1\0\0\0"  # the latter as bytes, which is no number
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\2" + width + turned + bytes(4)
    Image.new("RGB", (64, 96)).save(place := tmp_path / "place.jpg", exif=exif)
    assert main(["check", str(request_file), "--backdrop", str(place)]) == 2
    assert f"{place} cannot be read as a picture" in capsys.readouterr().err


def test_another_backdrop_takes_the_place_of_the_first_in_the_arrays_too(request_file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for colour, before, output in (("red", request_file, first), ("blue", first, second)):
        Image.new("RGB", (96, 64), colour).save(place := tmp_path / f"{colour}.png")
        assert main(["export", str(before), "-o", str(output), "--backdrop", str(place)]) == 0
    request, arrays = load_request(second)
    assert request.backdrop and (arrays[request.backdrop.image.digest] == (0, 0, 255)).all()
    assert [file.stem for file in arrays_folder(second).iterdir()] == [request.backdrop.image.digest]


def test_settings_are_changed_by_name(request_file: Path, tmp_path: Path) -> None:
    plain, changed = (tmp_path / name for name in ("plain.json", "changed.json"))
    changes = ["--set", "steps=7", "--set", "guidance_interval=.1..0.8", "--set", "perturb=off", "--set", "guide_pose=false"]
    assert main(["export", str(request_file), "-o", str(changed), *changes]) == 0
    settings = load_request(changed)[0].settings
    assert (settings.steps, settings.guidance_interval, settings.perturb, settings.guide_pose) == (7, (0.1, 0.8), "off", False)
    assert main(["export", str(changed), "-o", str(plain), "--set", "steps=null"]) == 0
    assert load_request(plain)[0].settings == replace(settings, steps=None)


@pytest.mark.parametrize(("command", "suffix"), [("render", "png"), ("export", "json")])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str,
    suffix: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(source, "load_request", lambda path: pytest.fail("it was read"))
    for output, words in (
        (tmp_path / f"a folder.{suffix}", f"a folder.{suffix} is a folder: name a file in it"),
        (tmp_path, f"{tmp_path} is a folder"),
        (request_file / f"out.{suffix}", "cannot be written (a file stands where a folder should): choose another place"),
        (tmp_path / f"{'long' * 64}.{suffix}", "cannot be written (File name too long): choose another place"),
    ):
        (tmp_path / f"a folder.{suffix}").mkdir(exist_ok=True)
        assert main([command, str(request_file), "-o", str(output)]) == 2
        assert words in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"request.json", f"a folder.{suffix}"}


@pytest.mark.parametrize(("call", "kind"), [("stat", FileNotFoundError), ("open", PermissionError)])
def test_a_drive_that_is_not_there_and_a_folder_that_windows_protects_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, kind: type[OSError]
) -> None:
    """A drive is its own parent, and tempfile takes such a folder for one in which just this name is taken."""
    asked: list[str] = []

    def refuse(path: Path | str, *arguments: Any, **options: Any) -> None:
        asked.append(str(path))
        assert len(asked) < 10, "it is asked for ever"
        raise kind(2, "as Windows says")

    with monkeypatch.context() as patch, pytest.raises(Refusal, match=r"renders cannot be written \(as Windows says\)"):
        patch.setattr(tempfile, "_os", SimpleNamespace(**vars(os) | {"name": "nt", "open": refuse, "O_TEMPORARY": 0}))
        patch.setattr(Path, call, refuse)
        target.check_folder(tmp_path / "renders")


@pytest.mark.parametrize(
    "command",
    [
        "serve --data",
        "keygen --endpoint tcp://127.0.0.1:5555 --data",
        "render",
        "train embedded --out out --work",
        "jobs --key-file",
    ],
)
def test_nothing_is_no_name_of_the_current_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([*command.split(), ""])  # as of a variable that a script has not set
    assert "'' names no file or folder: write . for the current folder. `beyondscene " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "bench --models toy-random --out",
        "evaluate --method direct --out",
        "evaluate --write-scenes",
        "train embedded --out out --work",
        "train embedded --work work --out",
        "train few-steps --models models --work",
    ],
)
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").touch()
    assert main([*command.split(), "a file"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("beyondscene: a file cannot be written (a file stands where a folder should): choose another place")


def test_what_the_system_says_of_a_file_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--backend", str(tmp_path / "none"), "-o", str(tmp_path / "keys")]) == 2
    words = f"beyondscene: {tmp_path / 'none'} cannot be read or written (No such file or directory): put that right"
    assert capsys.readouterr().err.startswith(words)


def test_what_an_error_quotes_can_pass_for_no_other_line(
    request_file: Path, two_people: RenderRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = replace(two_people.characters[0], name="An\x1b[2Ja\nbeyondscene: all is well", prompt="")
    request_file.write_bytes(msgspec.json.encode(replace(two_people, characters=(person,))))
    assert main(["render", str(request_file), "-o", str(tmp_path / "out.png")]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told and "\nbeyondscene" not in told and "all is well' has the control" in told


def test_what_neither_memory_nor_disk_can_hold_is_refused_before_the_models(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["render", str(request_file), "-o", str(tmp_path / "out.png"), "--size"]
    with monkeypatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=12 * 10**9, available=10**9))
        assert main([*command, "65536x43688"]) == 2
    assert "A picture of 65536x43688 px needs 15 GB of memory or more" in capsys.readouterr().err
    monkeypatch.setattr(target.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    assert main([*command, "1224x816"]) == 2
    assert "The picture may have 3.0 MB, but 1.0 MB are free" in capsys.readouterr().err
    assert main(["render", str(request_file), "-o", str(tmp_path / "out.exr"), "--size", "1224x816"]) == 2
    assert f"may have {most_bytes('exr', 1224, 816, people=2) / 1e6:.1f} MB" in capsys.readouterr().err
    for frame in (1, 2):
        (tmp_path / f"{frame}.json").write_bytes(request_file.read_bytes())
    monkeypatch.setattr(target.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4 * 10**6))
    frames = ["render", str(tmp_path / "#.json"), "--frames", "1-2", "-o", str(tmp_path / "out.#.png"), "--size", "1224x816"]
    assert main(frames) == 2
    assert "The 2 pictures may have 6.0 MB, but 4.0 MB are free" in capsys.readouterr().err


def test_a_size_asked_of_a_picture_that_cannot_be_is_no_fault(
    two_people: RenderRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(msgspec.json.encode(replace(two_people, width=65536, height=16)))
    assert main(["check", str(path), "--size", "1024x1024"]) == 2
    assert "The height is 16 px, but" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--size 65536x65536", "needs 22 GB of memory or more, but the machine that renders it has 12 GB"),
        ("--size 1025x1024", "The width is 1025 px, but it must be a multiple of 8: use 1024 or 1032."),
        ("--size 8192x64", "its longer side may be at most 16 times the shorter"),
        ("--device cuda:99", "The device 'cuda:99' is not to be had"),
        ("--device cpu --precision float16", "float16 is for GPUs"),
        ("--set magic=1", "--set magic=1 sets 'magic', which is no setting: write NAME=VALUE with NAME one of steps, "),
        ("--set t_b=.3 --set t_b=2", "--set t_b=.3 --set t_b=2 gives t_b the value '2'"),
    ],
)
def test_what_needs_no_scene_to_be_refused_is_refused_before_blender_reads_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=12 * 10**9, available=10**9))
    monkeypatch.setattr(source, "export_blend", lambda *given, **options: pytest.fail("Blender was asked"))
    assert main(["render", "shot.blend", "-o", str(tmp_path / "out.png"), *arguments.split()]) == 2
    assert sentence in capsys.readouterr().err


REFUSED_DEVICE = """
import sys
from beyondscene.backend import cli
assert cli.main(["render", "shot.blend", "-o", "out.png", "--device", "cuda:99"]) == 2
assert "diffusers" not in sys.modules  # nor transformers: with torch alone, the refusal takes a fraction of the time
"""


def test_a_gpu_that_is_not_there_is_refused_before_the_libraries_of_the_models_are_loaded(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED_DEVICE], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("beyondscene: The device 'cuda:99' is not to be had")


def test_what_another_starter_than_torchrun_has_left_is_ignored_or_refused(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    render = ["render", str(request_file), "-o", str(tmp_path / "out.png")]
    complete = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for said, place in (
        ({"RANK": "3"}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "1"}, (0, 1)),
        (complete, (3, 4)),
        (complete | {"MASTER_ADDR": ""}, None),
        (complete | {"RANK": "4"}, None),
        (complete | {"WORLD_SIZE": "four"}, None),
    ):
        with monkeypatch.context() as patch:
            for name, value in said.items():
                patch.setenv(name, value)
            if place:
                assert place_among_processes() == place
            else:
                assert main(render) == 2
                sentence = (
                    f"WORLD_SIZE={said['WORLD_SIZE']}, RANK={said['RANK']}, MASTER_ADDR={said['MASTER_ADDR']}, MASTER_PORT="
                )
                assert sentence in (told := capsys.readouterr().err) and "start this by torchrun, or unset WORLD_SIZE." in told


def test_whoever_would_be_lost_is_refused_before_the_models(
    request_file: Path, two_people: RenderRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far_away = replace(two_people, width=1920, height=1280, characters=resized(two_people, 24, 16).characters)
    request_file.write_bytes(msgspec.json.encode(far_away))
    assert main(["render", str(request_file), "-o", str(tmp_path / "out.png"), "--json"]) == 2
    told = capsys.readouterr()
    assert "in the base image of 384x256 px, but whoever has under 4 there is lost: move the camera closer" in told.err
    assert not told.out


def test_a_picture_that_finds_its_place_gone_is_kept_elsewhere(
    request_file: Path,
    tiny_models: ModelSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, spare = tmp_path / "folder" / "out.png", tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))

    def take_its_place(*given: object) -> None:
        output.parent.touch()

    monkeypatch.setattr(render, "check_room", take_its_place)
    assert main(["render", str(request_file), "-o", str(output), "--models", str(tiny_models.folder)]) == 2
    (kept,) = spare.rglob("out.png")
    assert f"so the picture is in {kept}" in capsys.readouterr().err
    with Image.open(kept) as picture:
        assert picture.size == (192, 128)


def test_folders_are_made_for_what_is_written(request_file: Path, tiny_models: ModelSet, tmp_path: Path) -> None:
    picture, exported, poses = (tmp_path / f"new {name}" / name for name in ("out.png", "r.json", "poses.json"))
    link = tmp_path / "link.png"
    link.symlink_to(picture)
    assert main(["export", str(request_file), "-o", str(exported), "--openpose", str(poses)]) == 0
    assert main(["render", str(exported), "-o", str(link), "--models", str(tiny_models.folder)]) == 0
    assert exported.exists() and poses.exists() and picture.exists()


def test_an_interrupted_picture_goes_on_from_its_checkpoints_and_whole_ones_are_not_drawn_again(
    request_file: Path,
    tiny_models: ModelSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def render_to(name: str, *options: str) -> int:
        models = ["--models", str(tiny_models.folder), "--json"]
        return main(["render", str(request_file), "-o", str(tmp_path / name), *models, *options])

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    kept = tmp_path / "kept"
    assert render_to("whole.png") == 0
    with monkeypatch.context() as patch:
        patch.setattr(target, "write_picture", interrupt)
        assert render_to("out.png", "--checkpoints", str(kept)) == 130
    told = capsys.readouterr().err
    assert "The same command goes on from the checkpoints." in told and "out.png goes on from" not in told
    (folder,) = kept.iterdir()
    assert list(folder.glob("*.safetensors")) and not (tmp_path / "out.png").exists()
    with monkeypatch.context() as patch:
        patch.setattr("beyondscene.backend.pipeline.joint.predict", lambda *given: pytest.fail("it was begun again"))
        assert render_to("out.png", "--checkpoints", str(kept)) == 0
    assert f"out.png goes on from {folder}" in capsys.readouterr().err
    assert not list(kept.iterdir())
    assert digest_of((tmp_path / "out.png").read_bytes()) == digest_of((tmp_path / "whole.png").read_bytes())

    monkeypatch.setattr(render, "read_source", lambda *given, **options: pytest.fail("it was read"))
    assert render_to("out.png", "--skip-existing") == 0
    assert "out.png: nothing to draw, it is all there" in capsys.readouterr().err


def test_a_picture_whose_checkpoints_another_command_has_cleared_is_made_all_the_same(
    request_file: Path,
    tiny_models: ModelSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, kept = tmp_path / "out.png", tmp_path / "kept"

    def write_after_the_other(*given: Any) -> None:
        shutil.rmtree(kept)
        write_picture(*given)

    monkeypatch.setattr(target, "write_picture", write_after_the_other)
    command = ["render", str(request_file), "-o", str(output), "--models", str(tiny_models.folder), "--json"]
    assert main([*command, "--checkpoints", str(kept)]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest_of(output.read_bytes())


def test_check_tells_the_work_or_what_is_wrong_and_draws_nothing(
    request_file: Path, two_people: RenderRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", str(request_file), "--size", "768x512", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(canvas["width"], canvas["height"]) for canvas in facts["canvases"]] == [(384, 256), (768, 512)]
    assert (facts["people"], facts["models"], facts["steps"]["people"]) == (2, "embedded", 4)
    assert main(["check", str(request_file)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("192x128 with embedded, ") and "2 drawn alone, 4 steps each" in told.out and not told.err

    odd = msgspec.json.encode(replace(two_people, prompt="a city plaza with a Zeppelin"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(odd)))
    assert main(["check", "-"]) == 0
    assert "warning: the models 'embedded' do not know zeppelin: say it in other words" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{}")))
    assert main(["check", "-"]) == 2
    told = capsys.readouterr().err
    assert "Standard input is not a render request: Object missing required field `width`" in told
    assert "docs/request.schema.json has the form; `beyondscene export` writes one." in told
    request_file.write_bytes(msgspec.json.encode(replace(two_people, width=190)))
    assert main(["check", str(request_file)]) == 2
    assert "it must be a multiple of 8" in capsys.readouterr().err
    assert list(request_file.parent.iterdir()) == [request_file]


def test_whoever_a_mask_leaves_out_is_named_and_not_counted(
    two_people: RenderRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, bo = two_people.characters
    ones = np.ones((two_people.height, two_people.width), np.uint8)  # a mask of yes and no, in place of 255 and 0
    mask = describe_array(ones)
    request_file = tmp_path / "masked.json"
    save_request(request_file, replace(two_people, characters=(replace(ana, mask=mask), bo)), {mask.digest: ones})
    assert main(["check", str(request_file), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["people"] == 1
    assert f"warning: '{ana.name}' is left out, for the mask shows nothing of this person, which 255 would." in told.err
    facts = {"width": 192, "height": 128, "seconds": 0, "remarks": ("'Bo' is not there.",)}
    monkeypatch.setattr(render, "draw", lambda *_: facts)
    assert main(["render", str(request_file), "-o", str(tmp_path / "out.png")]) == 0
    told = capsys.readouterr().err
    assert f"warning: '{ana.name}' is left out" in told and "beyondscene: warning: 'Bo' is not there.\n" in told


def test_a_picture_is_repeated_from_its_own_record(
    request_file: Path, tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--models", str(tiny_models.folder)]
    first, tiff, exr, again = (tmp_path / name for name in ("first.png", "second.tif", "third.exr", "again.png"))
    assert main(["render", str(request_file), "-o", str(first), "--seed", "3", "--precision", "bfloat16", *models]) == 0
    for made, output in ((first, tiff), (tiff, exr), (exr, again)):
        assert main(["render", "--from-image", str(made), "-o", str(output), *models]) == 0
    assert digest_of(again.read_bytes()) == digest_of(first.read_bytes())
    assert main(["export", "--from-image", str(exr), "-o", str(tmp_path / "again.json")]) == 0
    assert load_request(tmp_path / "again.json")[0].seed == 3
    assert "warning" not in capsys.readouterr().err


def test_repeating_with_other_weights_warns_and_without_a_record_or_models_refuses(
    two_people: RenderRequest, tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = fingerprint_weights(tiny_models)
    path = tmp_path / "out.png"
    picture = Picture(np.zeros((64, 64, 3), np.uint8))
    request = resized(replace(two_people, characters=()), 64, 64)
    changed = weights | {"base/vae/diffusion_pytorch_model.safetensors": "0" * 64}
    write_picture(path, picture, make_record(request, {}, "tiny", changed, "", schedule="1" * 64, manifest="1" * 64))
    repeat = ["render", "--from-image", str(path), "-o", str(tmp_path / "again.png")]
    assert main(repeat) == 2
    assert "There is no model set 'tiny'" in capsys.readouterr().err
    assert main([*repeat, "--models", str(tiny_models.folder)]) == 0
    words = capsys.readouterr().err
    assert (
        "models were others: base/vae/diffusion_pytorch_model.safetensors, base/scheduler/scheduler_config.json, " in words
        and "scheduler_config.json, modelset.json." in words
        and "unet" not in words
    )
    assert (tmp_path / "again.png").exists()
    Image.fromarray(picture.image).save(path)
    assert main(repeat) == 2
    assert "does not say how it was made" in capsys.readouterr().err


def test_what_comes_with_few_steps_goes_with_them(two_people: RenderRequest, tmp_path: Path) -> None:
    few = RenderSettings(
        few_steps=True, steps=8, guidance_scale=1, scheduler="euler", inpaint_strength=1, t_b=0.5, beta_over=0.3
    )
    made, kept = tmp_path / "out.png", tmp_path / "request.json"
    record = make_record(replace(two_people, settings=few), {}, "embedded", {}, "")
    write_picture(made, Picture(np.zeros((64, 64, 3), np.uint8)), record)
    command = ["export", "--from-image", str(made), "-o", str(kept)]
    for changes, settings in (
        (["few_steps=false", "t_b=.6"], RenderSettings(few_steps=False, t_b=0.6, beta_over=0.3)),
        (["few_steps=true", "t_b=.6"], replace(few, t_b=0.6)),
    ):
        assert main([*command, *(word for change in changes for word in ("--set", change))]) == 0
        assert load_request(kept)[0].settings == settings


@pytest.mark.parametrize(
    ("models", "told"),
    [("embedded", ""), ("sdxl", "beyondscene: a request does not name its models: render it with `--models sdxl`.\n")],
)
def test_an_export_says_which_models_the_request_was_for(
    two_people: RenderRequest, models: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.png"
    write_picture(path, Picture(np.zeros((64, 64, 3), np.uint8)), make_record(two_people, {}, models, {}, ""))
    assert main(["export", "--from-image", str(path), "-o", str(tmp_path / "request.json")]) == 0
    assert capsys.readouterr().err == told


def test_a_picture_whose_record_is_not_understood_is_named(
    two_people: RenderRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.png"
    record = make_record(two_people, {}, "embedded", {}, "")
    newer = msgspec.Raw(bytes(record.request).replace(b'"seed"', b'"seed_of_noise"'))
    write_picture(path, Picture(np.zeros((64, 64, 3), np.uint8)), replace(record, request=newer))
    assert main(["check", "--from-image", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"beyondscene: {path} cannot be repeated (not a render request: unknown field `seed_of_noise`")
    assert told.endswith("it is damaged, or from a newer version; name another one, or update this.\n")


def test_missing_and_broken_requests_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(tmp_path / "none.json"), "-o", str(tmp_path / "new" / "folder" / "out.png")]) == 2
    assert "There is no file" in capsys.readouterr().err
    assert main(["render", str(tmp_path / "plaza.png"), "-o", str(tmp_path / "out.png")]) == 2
    assert "plaza.png is a picture: write --from-image before it" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text('{"width": 64}')
    assert main(["render", "--from-image", str(tmp_path / "broken.json"), "-o", str(tmp_path / "out.png")]) == 2
    assert "broken.json is no picture: leave --from-image out before it" in capsys.readouterr().err
    assert main(["render", str(tmp_path / "broken.json"), "-o", str(tmp_path / "out.png")]) == 2
    assert "missing required field" in capsys.readouterr().err
    for name in ("none.blend", "none.blend1"):  # the second as Blender names its backups
        assert main(["export", str(tmp_path / name), "-o", str(tmp_path / "r.json")]) == 2
        assert f"There is no file {tmp_path / name}: name an existing .blend.\n" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "broken.json"), "-o", str(tmp_path / "r.json"), "--passes"]) == 2
    assert "broken.json is none: name the .blend, or leave --passes out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["broken.json"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("render r.json -o o.png --size 0x0", "'0x0' is not a size"),
        ("render r.json -o o.png --size 65537x64", "is not a size: write width x height in pixels, 65536 at most"),
        ("render r.json -o o.png --seed -1", "'-1' is no seed: write a whole number from 0 to 9223372036854775807"),
        ("render r.json -o o.png --device foo", "'foo' is no device: write auto, cpu, mps, cuda"),
        ("export r.blend -o r.json --frame 99999999", "'99999999' is no frame: write a whole number from -1048574 to 1048574"),
        ("export r.blend -o r.#.json --frames 1-1048575", "'1-1048575' are no frames: write the first and the last, from"),
        ("render r.json -o o.png --json --frobnicate", "there is no --frobnicate. `beyondscene render --help` lists"),
        ("serve --bind tcp://127.0.0.1:99999", "'tcp://127.0.0.1:99999' has no port that there is: write 0 for any"),
        ("jobs --limit 1001", "'1001' is no number of jobs: write a whole number from 1 to 1000"),
        ("serve --metrics-port 99999999", "'99999999' is no port: write a whole number from 1 to 65535"),
        ("serve --keep nan", "'nan' is no amount"),
        ("serve --keep 1e308", "'1e308' is no amount: write a number from 0 to 1000000000"),
        ("serve --parent-pid -1", "'-1' is no number of a process: write a whole number from 1 to 2147483647"),
        ("train embedded --out o --minutes nan", "'nan' is no amount"),
        ("submit r.json --priority 101", "'101' is no priority: write a whole number from -100 to 100"),
        ("jobs --patience -1", "'-1' is no amount"),
        ("jobs --patience -.5", "'-.5' is no amount"),
        ("wait nope", "'nope' is no job id: `beyondscene jobs` lists them"),
        ("fetch nope -o o.png", "'nope' is no job id"),
        ("cancel nope", "'nope' is no job id"),
        ("submit r.json --job-id nope", "'nope' is no job id"),
    ],
)
def test_numbers_and_names_that_are_none_are_refused_as_the_command_is_read(
    capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(command.split())
    assert exit_code.value.code == 2
    told = capsys.readouterr().err
    assert words in told and told.startswith("beyondscene: ") and len(told.splitlines()) == 1  # without a list of all options


def test_what_an_export_writes_has_names_of_their_own_that_say_json(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = request_file.read_bytes()
    twice = ["-o", str(request_file), "--openpose", str(tmp_path / "." / request_file.name)]
    assert main(["export", str(request_file), *twice]) == 2
    assert "cannot hold both the request and the poses: give --openpose another name" in capsys.readouterr().err
    for option in ("-o", "--openpose"):
        names = ["-o", str(tmp_path / "r.json"), option, str(tmp_path / "r.png")]
        assert main(["export", str(request_file), *names]) == 2
        assert "r.png would hold JSON, which its name does not say: end the name in .json" in capsys.readouterr().err
    assert request_file.read_bytes() == before and list(tmp_path.iterdir()) == [request_file]


def test_depth_of_another_picture_does_not_stay_beside_a_request(request_file: Path, tmp_path: Path) -> None:
    (depth := tmp_path / "other.json.arrays" / "depth.npy").parent.mkdir()
    depth.touch()
    assert main(["export", str(request_file), "-o", str(tmp_path / "other.json")]) == 0
    assert not depth.exists()
    (depth := tmp_path / "request.json.arrays" / "depth.npy").parent.mkdir()
    depth.touch()
    assert main(["export", str(request_file), "--seed", "5", "-o", str(request_file)]) == 0
    assert depth.exists()  # as it is its own
    (depth := tmp_path / "shot.0007.json.arrays" / "depth.npy").parent.mkdir()
    depth.touch()
    request_file.rename(tmp_path / "shot.0007.json")
    numbered = str(tmp_path / "shot.####.json")
    assert main(["export", numbered, "--frame", "7", "--seed", "5", "-o", numbered]) == 0
    assert depth.exists()


def test_the_model_of_poses_is_refused_without_a_file_for_them(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(request_file), "-o", str(tmp_path / "r.json"), "--openpose-model", "BODY_25"]) == 2
    assert "add --openpose POSES.json, or leave it out" in capsys.readouterr().err


def test_a_frame_without_a_blend_is_refused(request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(request_file), "-o", str(tmp_path / "out.json"), "--frame", "12"]) == 2
    assert "request.json is neither: name such, or leave --frame out" in capsys.readouterr().err


SMALL_FILES_ONLY = """
import resource, sys
from beyondscene.backend.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(main(["export", sys.argv[1], "--size", "384x256", "-o", sys.argv[1]]))
"""


def test_an_export_that_finds_no_room_leaves_the_request_that_was_there(request_file: Path) -> None:
    before = request_file.read_bytes()
    done = subprocess.run([sys.executable, "-c", SMALL_FILES_ONLY, str(request_file)], capture_output=True, text=True)
    assert done.returncode == 2
    words = f"beyondscene: {request_file} cannot be read or written (File too large): put that right, or name another place.\n"
    assert done.stderr == words
    assert request_file.read_bytes() == before and list(request_file.parent.iterdir()) == [request_file]


def test_the_worker_is_not_for_people_and_refuses_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["wroker"])
    assert "worker" not in capsys.readouterr().err

    def refuse() -> int:
        raise Refusal("The device 'cuda:9' is not to be had.")

    monkeypatch.setattr(worker, "run", refuse)
    assert main(["worker"]) == 2
    assert capsys.readouterr().err == "beyondscene: The device 'cuda:9' is not to be had.\n"


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out == f"beyondscene {app_version()}\n"


def test_a_job_whose_id_holds_no_time_is_listed_without_one() -> None:
    for job_id in ("12345678-1234-4234-8234-123456789abc", "ffffffff-ffff-7fff-bfff-ffffffffffff"):
        assert say_when(job_id).split() == ["-"]
    assert say_when("01a21f76-9dbd-7ac2-8875-968841967505").startswith("2026-11-2")


def test_what_serve_is_asked_for_reaches_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ServeSettings] = []
    monkeypatch.setattr(cli_serve, "serve", lambda settings: asked.append(settings) or 0)
    assert (
        main(["serve", "--data", str(tmp_path), *["--offload", "layers", "--precision", "float16", "--metrics-port", "9464"]])
        == 0
    )
    assert (asked[0].offload, asked[0].precision, asked[0].metrics_port) == ("layers", "float16", 9464)
    assert (asked[0].release_s, asked[0].idle_exit_s) == (300, None)
    assert main(["serve", "--data", str(tmp_path), "--devices", "cpu", "--precision", "float16"]) == 2
    assert main(["serve", "--data", str(tmp_path), "--release-after", "0", "--idle-exit", "90"]) == 0
    assert (asked[1].release_s, asked[1].idle_exit_s) == (None, 5400)
    assert main(["serve", "--data", str(tmp_path), "--keep", "0"]) == 2


def test_serve_refuses_other_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--bind", "tcp://0.0.0.0:5555", "--data", str(tmp_path)]) == 2
    assert "0.0.0.0" in capsys.readouterr().err


def test_a_blender_that_lacks_a_library_of_the_system_is_no_fault_of_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bpy.py").write_text("raise ImportError('libXi.so.6: cannot open shared object file')")  # as in a slim image
    (tmp_path / "shot.blend").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    export = ["export", str(tmp_path / "shot.blend"), "-o", str(tmp_path / "request.json")]
    assert main(export) == 2
    said = capsys.readouterr().err
    assert "which cannot be loaded (libXi.so.6: cannot open shared object file): install that" in said
    assert "with `beyondscene export` where it can be loaded" in said  # the add-on writes no requests
    monkeypatch.setitem(sys.modules, "bpy", None)
    assert main(export) == 2
    said = capsys.readouterr().err
    assert "which is not installed" in said and "with `beyondscene export` where it can be loaded" in said


def test_where_nothing_can_be_written_it_is_said_how_to_name_a_temporary_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    assert answer(lambda: len(tempfile.gettempdir())) == 2
    assert "No usable temporary directory found in ['/proc/none']: set TMPDIR to a folder" in capsys.readouterr().err


def test_nothing_but_a_users_own_folder_needs_a_home(
    request_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def know_nobody(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", know_nobody)  # a container's
    assert main(["check", str(request_file), "--size", "96x64"]) == 0
    assert main(["jobs", "--patience", "0"]) == 2
    assert "HOME is not set/beyondscene/connection.json cannot be read" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache")
    assert hub_snapshot("somebody/something") is None
    with pytest.raises(SystemExit):
        main(["--help"])  # which has the default of each


def test_python_without_docstrings_runs_the_commands_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "__doc__", None)  # `python -OO`
    with pytest.raises(SystemExit, match="0"):
        main(["info", "--help"])


def test_info_tells_versions_devices_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["versions"]["protocol"] == "1" and told["devices"]
    assert {"embedded", "sdxl"} <= {one["name"] for one in told["models"]}
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"torch         {told['versions']['torch']}" in lines
    (sdxl,) = [line for line in lines if "sdxl, 1024 px: " in line]
    assert ("lacks" in sdxl) == ("a `beyondscene render` with `--models sdxl` says how to get them" in sdxl)


def test_a_model_set_that_cannot_be_read_does_not_hide_the_others(
    tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = read_model_set(Path(shutil.copytree(tiny_models.folder, tmp_path / "broken")))
    (broken.role_folder("base") / "model_index.json").write_text("{")
    monkeypatch.setattr(info, "find_model_sets", lambda: [broken, tiny_models])
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [bool(one["missing"]) for one in told["models"]] == [True, False]
    assert "choose tiny, or close other programs" in what_would_load(tiny_models, [broken, tiny_models])
