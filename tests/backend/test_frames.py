"""Several frames of one .blend, another scene, another camera, and what a farm reads meanwhile."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from beyondscene.backend import blend
from beyondscene.backend.cli import main, progress
from beyondscene.backend.cli.arguments import frames
from beyondscene.backend.cli.progress import Lines, show_progress, tell_duration
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.watch import Headway
from beyondscene.protocol import RenderRequest, RenderSettings, load_request, save_request
from msgspec.structs import replace
from PIL import Image
from rich.console import Console

pytest.importorskip("bpy")
DUO = Path(__file__).parents[2] / "examples" / "duo.blend"
Capture = pytest.CaptureFixture[str]

ANIMATE = """
import os, sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1], load_ui=False)
scene = bpy.context.scene
camera = scene.camera
for frame, x in ((1, 0.0), (9, 0.4)):
    camera.delta_location.x = x
    camera.keyframe_insert("delta_location", frame=frame)
second = camera.copy()
second.data = camera.data.copy()
second.name, second.data.lens = "Close", camera.data.lens * 1.2
second.animation_data_clear()
scene.collection.objects.link(second)
away = second.copy()
away.data, away.name = camera.data.copy(), "Away"
back = away.matrix_world.col[2].to_3d() * 80
for frame, share in ((1, 0.0), (9, 1.0)):
    away.delta_location = back * share
    away.keyframe_insert("delta_location", frame=frame)
scene.collection.objects.link(away)
other = scene.copy()
other.name, other.use_fake_user = "Night", True
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[2])
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def animated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example duo with a camera that moves in frames 1 to 9, two others, `Close` and `Away`, and a second scene `Night`.

    `Away` leaves by 80 m in those frames.
    """
    path = tmp_path_factory.mktemp("blend") / "animated.blend"
    subprocess.run([sys.executable, "-c", ANIMATE, str(DUO), str(path)], check=True, capture_output=True)
    return path


def nose_px(request: RenderRequest) -> float:
    return request.characters[0].keypoints[0].x


def test_each_frame_has_its_request_and_blender_is_started_once(
    animated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[object] = []
    (spare := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(spare))
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    run = subprocess.run
    monkeypatch.setattr(blend.subprocess, "run", lambda *given, **how: starts.append(given) or run(*given, **how))
    command = ["export", str(animated), "--size", "256x256", "--passes", "-o", str(tmp_path / "shot.####.json")]
    assert main([*command, "--frames", "1-9:4"]) == 0
    requests = [load_request(tmp_path / f"shot.{number:04d}.json")[0] for number in (1, 5, 9)]
    assert nose_px(requests[0]) > nose_px(requests[1]) > nose_px(requests[2])  # the camera goes to the right
    assert all((tmp_path / f"shot.{number:04d}.json.arrays" / "depth.npy").exists() for number in (1, 5, 9))
    assert len(starts) == 1
    again = [argument for argument in command if argument != "--passes"]
    (tmp_path / "shot.0001.json.arrays" / "mine.npy").touch()
    assert main([*again, "--frames", "1"]) == 0
    left = {path.name for path in (tmp_path / "shot.0001.json.arrays").iterdir()}
    assert "mine.npy" in left and not left & {"depth.npy", "normals.npy"}  # which were of another picture
    assert not list(spare.iterdir())  # neither ours nor Blender's own


def test_scene_and_camera_are_chosen_by_name_and_what_is_none_is_refused(
    animated: Path, tmp_path: Path, capsys: Capture
) -> None:
    command = ["export", str(animated), "--size", "256x256", "-o", str(tmp_path / "r.json")]
    cameras = {}
    for name in ("", "Close"):
        assert main([*command, *(["--scene", "Night", "--camera", name] if name else [])]) == 0
        cameras[name] = load_request(tmp_path / "r.json")[0].camera
    assert cameras["Close"].fx == pytest.approx(1.2 * cameras[""].fx)
    capsys.readouterr()
    assert main([*command, "--camera", ""]) == 2  # as of a variable that a script has not set
    assert re.search(r"no camera '' in the scene '\w+': it has .*Close", capsys.readouterr().err)
    assert main([*command, "--scene", os.fsdecode(b"No\xffwhere")]) == 2
    assert re.search(r"There is no scene 'No.+where' in animated.blend: it has", capsys.readouterr().err)


def test_frames_need_a_blend_and_a_name_for_each(request_file: Path, animated: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["export", str(request_file), "-o", str(tmp_path / "r.##.json"), "--frames", "1-3"]) == 2
    assert "--frames chooses from a .blend, or from requests with #### for the number" in capsys.readouterr().err
    assert main(["render", str(animated), "-o", str(tmp_path / "out.png"), "--frames", "1-3"]) == 2
    assert "out.png is one file for 3 frames: write ####" in capsys.readouterr().err
    assert main(["render", str(animated), "-o", str(tmp_path / "out.png"), "--frames", "-4--2"]) == 2
    assert "out.png is one file for 3 frames: write ####" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["render", str(animated), "-o", "out.####.png", "--frames", "3-1"])
    assert "'3-1' goes backwards: write the lower frame first, as in 1-3" in capsys.readouterr().err
    assert blend.number_path(Path("/a #1/x.###.png"), 7) == Path("/a #1/x.007.png")
    assert [list(frames(text)) for text in ("12", "-2-2:2", "1-3")] == [[12], [-2, 0, 2], [1, 2, 3]]


def test_pictures_of_several_frames_and_the_lines_in_a_farms_log(
    animated: Path, tiny_models: ModelSet, tmp_path: Path, capsys: Capture
) -> None:
    command = ["render", str(animated), "-o", str(tmp_path / "shot.####.png"), "--models", str(tiny_models.folder), "--json"]
    assert main([*command, "--size", "128x64", "--frames", "1-9:8"]) == 0
    said = capsys.readouterr()
    told = [json.loads(line) for line in said.out.splitlines()]
    assert [(one["frame"], Path(one["output"]).name) for one in told] == [(1, "shot.0001.png"), (9, "shot.0009.png")]
    first, last = (Image.open(one["output"]).tobytes() for one in told)
    assert first != last
    for name in ("shot.0001.png", "shot.0009.png"):
        assert re.search(rf"^beyondscene: {name}: \d+%, drawing the background.*, \d+ s left$", said.err, re.M)
    (tmp_path / "shot.0001.png").unlink()
    assert main([*command, "--size", "128x64", "--frames", "1-9:8", "--skip-existing"]) == 0
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [1]


def test_requests_that_are_numbered_are_drawn_by_one_command(
    two_people: RenderRequest, tiny_models: ModelSet, tmp_path: Path, capsys: Capture
) -> None:
    for number in (8, 9, 10):
        save_request(tmp_path / f"shot.{number:02d}.json", replace(two_people, seed=number), {})
    layered = replace(two_people, settings=RenderSettings(hcp_scale=0.5))
    save_request(tmp_path / "shot.12.json", layered, {})
    command = ["render", str(tmp_path / "shot.##.json"), "--models", str(tiny_models.folder)]
    several = [*command, "-o", str(tmp_path / "shot.##.png")]
    assert main([*several, "--frames", "8-10:2", "--json"]) == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["frame"], one["seed"], Path(one["output"]).name) for one in facts] == [
        (8, 8, "shot.08.png"), (10, 10, "shot.10.png"),
    ]  # fmt: skip
    assert main([*command, "-o", str(tmp_path / "one.png"), "--frame", "9"]) == 0
    for arguments, sentence in (
        (several, "shot.##.json stands for a request of each frame: say which with --frames A-B or --frame N."),
        ([*several, "--frames", "10-11", "--seed", "1"], f"Frame 11: There is no file {tmp_path / 'shot.11.json'}"),
        ([*several, "--frames", "9-12:3"], "Frame 12: hcp_scale is 0.5, but the model set 'tiny' has no HcP layers"),
    ):
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["one.png", "shot.08.png", "shot.10.png"]


def test_a_later_frame_that_cannot_be_drawn_is_refused_before_the_first_is(
    animated: Path, tiny_models: ModelSet, tmp_path: Path, capsys: Capture
) -> None:
    command = ["render", str(animated), "-o", str(tmp_path / "shot.#.png"), "--models", str(tiny_models.folder)]
    assert main([*command, "--size", "512x256", "--camera", "Away", "--frames", "1-9:8"]) == 2
    assert re.search(r"Frame 9: The joints of '.*' span \d+ px", capsys.readouterr().err)
    assert not list(tmp_path.glob("*.png"))


def test_a_frame_with_nobody_in_it_is_a_picture_of_the_scene(animated: Path, tmp_path: Path, capsys: Capture) -> None:
    command = ["export", str(animated), "--size", "128x64", "--camera", "Away", "-o", str(tmp_path / "shot.#.json")]
    assert main([*command, "--frames", "1-9:8"]) == 0
    assert [len(load_request(tmp_path / f"shot.{number}.json")[0].characters) for number in (1, 9)] == [2, 0]
    assert "frame 9" in capsys.readouterr().err  # who is left out is said all the same


def test_a_disk_too_small_for_all_frames_is_told_before_the_first(
    animated: Path, tiny_models: ModelSet, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    command = ["render", str(animated), "-o", str(tmp_path / "shot.#.png"), "--models", str(tiny_models.folder)]
    assert main([*command, "--size", "512x512", "--frames", "1-9:8"]) == 2
    assert "The 2 pictures may have 1.6 MB, but 1.0 MB are free" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


def test_a_line_comes_also_where_nothing_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    log = io.StringIO()
    watcher = show_progress(Console(file=log, width=20), "a job")
    assert isinstance(watcher, Lines)
    with watcher:
        time.sleep(0.3)
        watcher.progress(Headway(stage="enlarge", level=1, levels=2, step=3, steps=35, fraction=0.42))
    lines = log.getvalue().splitlines()
    assert len(lines) >= 3 and lines[0] == "beyondscene: a job: 0%, waiting"
    assert lines[-1].startswith("beyondscene: a job: 42%, enlarging, level 1 of 2, step 3 of 35")


@pytest.mark.parametrize(("tty", "name", "value"), [(False, "FORCE_COLOR", "1"), (True, "TERM", "dumb")])
def test_lines_come_wherever_no_bar_can_be_drawn(monkeypatch: pytest.MonkeyPatch, tty: bool, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty)
    assert isinstance(show_progress(progress.open_console(), "a job"), Lines)


def test_the_time_that_is_left_is_told_in_units_that_suit_it() -> None:
    assert [tell_duration(seconds) for seconds in (4.4, 89, 740, 11100)] == ["4 s", "89 s", "12 min", "3 h 5 min"]


def test_a_bar_writes_nothing_where_there_is_no_terminal() -> None:
    log = io.StringIO()
    with progress.Bar(Console(file=log)) as bar:
        bar.progress(Headway(stage="enlarge", level=1, levels=2, step=3, steps=35, fraction=0.42))
    assert not log.getvalue()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_as_ctrl_c_does_and_leave_no_scene_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture, number: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(blend.subprocess, "run", lambda *given, **how: os.kill(os.getpid(), number))

    def unheeded(signal_number: int, frame: object) -> None:
        raise AssertionError("it would have ended the process there and then")

    before = signal.signal(number, unheeded)
    try:
        assert main(["export", str(DUO), "-o", str(tmp_path / "r.json")]) == 130
        assert signal.getsignal(number) is unheeded
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "beyondscene: interrupted\n"
    assert not list(tmp_path.iterdir())


def test_a_blend_that_is_none_is_refused_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "empty.blend").touch()
    with pytest.raises(blend.BlendError, match=r"empty\.blend cannot be opened \(File format .*\): see that Blender opens it"):
        blend.open_blend(tmp_path / "empty.blend", None)


def test_a_blend_behind_a_link_is_opened_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shot.blend").symlink_to(DUO)
    monkeypatch.chdir(tmp_path)
    refused = subprocess.CompletedProcess([], blend.REFUSED, stdout="", stderr="No.")
    opened: list[str] = []
    monkeypatch.setattr(blend.subprocess, "run", lambda command, **how: opened.extend(command) or refused)
    assert main(["export", "shot.blend", "-o", "r.json"]) == 2
    assert str(tmp_path / "shot.blend") in opened  # beside which its libraries are


def test_a_slip_in_the_export_is_a_fault_of_ours_with_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = "Traceback (most recent call last):\n  ...\nValueError: operands could not be broadcast together"
    broken = subprocess.CompletedProcess([], 1, stdout="", stderr=words)  # as Python ends for what nobody caught
    monkeypatch.setattr(blend.subprocess, "run", lambda *given, **how: broken)
    with pytest.raises(RuntimeError, match=r"Traceback(.|\n)*operands could not be broadcast"):
        main(["export", str(DUO), "-o", str(tmp_path / "r.json")])


SAVE_WITH_MODELS = """
import os, sys
import bpy
from beyondscene import addon
addon.register()
bpy.ops.wm.open_mainfile(filepath=sys.argv[1], load_ui=False)
bpy.context.scene.beyondscene.models = "sdxl"
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[2])
sys.stdout.flush()
os._exit(0)
"""


def test_a_scene_is_drawn_with_the_models_that_it_was_saved_with_unless_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    scene = tmp_path / "shot.blend"
    subprocess.run([sys.executable, "-c", SAVE_WITH_MODELS, str(DUO), str(scene)], check=True, stdout=subprocess.DEVNULL)
    for command in (["check"], ["render", "-o", str(tmp_path / "out.png")]):
        assert main([*command, str(scene), "--size", "128x64"]) == 2
        assert "The model set 'sdxl' lacks" in capsys.readouterr().err
    assert main(["check", str(scene), "--size", "128x64", "--models", "embedded"]) == 0
    assert "128x64 with embedded" in capsys.readouterr().out
