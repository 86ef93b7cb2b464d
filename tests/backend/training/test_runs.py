"""A used work folder goes on with its own run and with no other."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.cli import main
from beyondscene.backend.training.embedded import tiny_settings, train_embedded
from beyondscene.backend.training.few_steps import FewStepsSettings, train_few_steps
from beyondscene.backend.training.latents import encode_renders
from beyondscene.backend.training.renders import draw_views, stack_views
from beyondscene.backend.training.runs import RunError, alone_in, training_device
from beyondscene.backend.training.under_way import OutOfTime, Run
from beyondscene.backend.training.vae import build_vae
from msgspec.structs import replace
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")
TOOLS = Path(__file__).parents[3] / "tools"


def ignore(_event: object) -> None:
    pass


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder in which a tiny model was trained to `models`, and its LoRA for few steps begun."""
    work = tmp_path_factory.mktemp("runs")
    settings = replace(tiny_settings(work, work / "models", CPU), views=8, processes=1)
    train_embedded(settings, ignore)
    with pytest.raises(OutOfTime):
        train_few_steps(few_steps(work), ignore)
    return work


def few_steps(work: Path, **changes: Any) -> FewStepsSettings:
    tiny = tiny_settings(work, work, CPU)
    settings = FewStepsSettings(
        work=work, models=work / "models", device=CPU, views=8, size_px=128, processes=1, minutes=0,
        sizes=tiny.denoiser.sizes, text=tiny.text,
    )  # fmt: skip
    settings = replace(settings, distil=replace(settings.distil, batch=2))
    return replace(settings, **changes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed = 0, but now it is 1"),
        ({"views": 16}, "views = 8, but now it is 16"),
        ({"size_px": 256}, "size_px = 128, but now it is 256"),
        ({"device": torch.device("meta")}, "device = cpu, but now it is meta"),
        (
            {"denoiser": {"small_batch": 3}},
            r"batches\.denoiser = \[2, 1\], but now it is \[3, 1\]",
        ),
        ({"start": "models"}, r"start = None, but now it is \w{16}, further = \[\], but now it is \['denoiser'\]"),
        ({"vae": {"widths": (16, 16, 16, 32)}}, r"sizes\.vae = \[16, 16, 16, 16\], but now it is \[16, 16, 16, 32\]"),
    ],
)
def test_another_run_is_refused_and_nothing_is_written(used: Path, change: dict[str, Any], told: str) -> None:
    settings = replace(tiny_settings(used, used / "other", CPU), views=8, processes=1)
    for name, value in change.items():
        now = used / value if name == "start" else value
        settings = replace(settings, **{name: replace(getattr(settings, name), **value) if isinstance(value, dict) else now})
    with pytest.raises(RunError, match=rf"is of a run with {told}: name another folder with --work, or delete "):
        train_embedded(settings, ignore)
    assert not (used / "other").exists()


def test_the_same_run_goes_on_with_other_steps_and_minutes(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")  # as where the locale has no more
    settings = replace(tiny_settings(used, used / "länger", CPU), views=8, processes=1, minutes=9)
    train_embedded(replace(settings, denoiser=replace(settings.denoiser, steps=9)), ignore)
    assert "länger" in (used / "train.jsonl").read_text("utf-8")


def test_a_folder_in_which_another_process_is_at_work_is_refused(used: Path) -> None:
    """Both would replace the same model, and one of them break off in the midst of it."""
    settings = replace(tiny_settings(used, used / "other", CPU), views=8, processes=1)
    with alone_in(used), pytest.raises(RunError, match=r"at work in \S+: wait until it has ended, or name another with --work"):
        train_embedded(settings, ignore)
    with alone_in(used / "few-steps"), pytest.raises(RunError, match="Another process is at work in"):
        train_few_steps(few_steps(used), ignore)


def test_a_changed_teacher_is_refused(used: Path) -> None:
    with pytest.raises(OutOfTime):
        train_few_steps(few_steps(used), ignore)  # goes on
    with pytest.raises(RunError, match=r"few-steps is of a run with rank = 6, but now it is 4"):
        train_few_steps(few_steps(used, distil=replace(few_steps(used).distil, rank=4)), ignore)
    (weights,) = (used / "models" / "unet").glob("*.safetensors")
    tensors, before = load_file(weights), weights.read_bytes()
    tensors["conv_in.bias"] += 1
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(RunError, match=r"is of a run with teacher = \w{16}, but now it is \w{16}: name another folder"):
        train_few_steps(few_steps(used), ignore)
    weights.write_bytes(before)


def test_a_model_of_other_sizes_is_refused_before_anything_is_rendered(
    used: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands train in the embedded model's own sizes."""
    folders = ["--work", str(tmp_path / "work"), "--device", "cpu"]
    for command in (["few-steps", "--models"], ["embedded", "--out", str(tmp_path / "out"), "--start"]):
        assert main(["train", *command, str(used / "models"), *folders]) == 2
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert f"{used / 'models'} has not the networks of the embedded model, in its sizes: name a folder" in sentence
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_take_the_lora_is_told_before_anything_is_rendered(
    used: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = Path.open

    def open_elsewhere(path: Path, mode: str = "r", **options: Any) -> Any:
        if mode == "xb" and path.parent == used / "models":
            raise OSError(errno.EROFS, "Read-only file system")
        return open_file(path, mode, **options)

    monkeypatch.setattr(Path, "open", open_elsewhere)
    assert main(["train", "few-steps", "--models", str(used / "models"), "--work", str(tmp_path / "work")]) == 2
    assert f"{used / 'models'} cannot be written (Read-only file system)" in capsys.readouterr().err


def test_neither_the_run_nor_what_it_goes_on_from_is_replaced_by_its_model(
    used: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the log would lose its lines with the folder, and a call that goes on would find other weights to have begun with."""
    for folders, told in (
        (["--work", str(tmp_path / "out" / "work"), "--out", str(tmp_path / "out")], "which is replaced as a whole"),
        (["--work", str(tmp_path / "work"), "--out", str(used / "models"), "--start", str(used / "models")], "is --start"),
    ):
        assert main(["train", "embedded", "--tiny", "--device", "cpu", *folders]) == 2
        assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_claimed_with_a_seed_that_its_renders_refuse(tmp_path: Path) -> None:
    """Or the right seed would be refused from then on, with the advice to delete what took hours."""
    settings = replace(tiny_settings(tmp_path, tmp_path / "out", CPU), views=8, processes=1, minutes=0)
    with pytest.raises(OutOfTime):
        train_embedded(replace(settings, render_only=True), ignore)
    with pytest.raises(RunError, match="renders is of a run with seed = 0, but now it is 1"):
        train_embedded(replace(settings, seed=1), ignore)
    with pytest.raises(OutOfTime):
        train_embedded(settings, ignore)


def test_the_command_refuses_renders_and_weights_of_unknown_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (".", "renders"):
        work = tmp_path / f"of {place}"
        (work / place).mkdir(parents=True)
        save_file({"one": torch.zeros(1)}, work / place / "some.safetensors")
        assert main(["train", "embedded", "--tiny", "--work", str(work), "--out", str(tmp_path / "out")]) == 2
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert "has *.safetensors, but no run.json that says of which run they are: name another folder" in sentence


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--steps", "-3"], "--steps -3 is too few: say 1 or more."),
        (["--steps", "0"], "--steps 0 is too few: say 1 or more."),
        (["--views", "0"], "--views 0 is too few: say 1 or more."),
        (["--seed", "-1"], "--seed -1 is too few: say 0 or more."),
        (["--device", "abacus"], "'abacus' is no device: write auto, cpu, mps, cuda, or cuda:1 for the second."),
        (["--device", "cuda:99"], "The device 'cuda:99' is not to be had: "),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_a_folder_is_claimed(
    asked: list[str], told: str, used: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded = ["embedded", "--tiny", "--out", str(tmp_path / "out")]
    for command in (embedded, ["few-steps", "--models", str(used / "models")]):
        assert main(["train", *command, "--work", str(tmp_path / "work"), *asked]) == 2
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert told in sentence
    assert not list(tmp_path.iterdir())


def test_renders_made_elsewhere_are_learnt_from_on_any_device(tmp_path: Path) -> None:
    settings = replace(tiny_settings(tmp_path, tmp_path / "out", CPU), views=8, processes=1, render_only=True)
    with pytest.raises(OutOfTime):
        train_embedded(settings, ignore)
    with pytest.raises(OutOfTime):
        train_embedded(replace(settings, render_only=False, minutes=0, vae=replace(settings.vae, crops=3)), ignore)


def test_further_without_a_start_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "embedded", "--tiny", "--further", "vae", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "w")]
    assert main(command) == 2
    assert "--further says what of --start is trained further: name that model set" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["-m", "beyondscene.backend.evaluation.measure_judge", "nowhere"], "nowhere holds no judge"),
        (
            ["-m", "beyondscene.backend.evaluation.train_judge", "--work", "work", "--out", "out", "--minutes", "-1"],
            "'-1' is no amount",
        ),
        (["-m", "beyondscene.backend.training.measure", "nowhere", "out"], "nowhere is no model set"),
        ([str(TOOLS / "plot_training.py")], "the following arguments are required: log, out"),
        ([str(TOOLS / "plot_training.py"), "empty.jsonl", "out.png"], "empty.jsonl tells of no loss in any of the stages"),
        ([str(TOOLS / "draw_contact_sheet.py"), "nowhere/sheet.png"], "There is no folder nowhere: make it"),
    ],
)
def test_commands_of_developers_say_what_is_wrong_in_a_sentence(command: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_and_a_spoilt_checkpoint_are_told_in_a_sentence(
    used: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    command = ["train", "embedded", "--tiny", "--views", "8", "--device", "cpu", "--out", str(tmp_path / "out"), "--work"]
    shutil.copytree(used, tmp_path / "work", ignore=shutil.ignore_patterns("vae.safetensors"))
    with monkeypatch.context() as full:
        full.setattr("beyondscene.backend.training.checkpoints.save_file", fill)
        assert main([*command, str(tmp_path / "work")]) == 2
    assert (
        "(Error while serializing: I/O error: No space left on device (os error 28)): make room on" in capsys.readouterr().err
    )
    checkpoint = tmp_path / "work" / "vae.safetensors"
    for spoil in (lambda: checkpoint.write_bytes(b"cut"), lambda: (checkpoint.unlink(), checkpoint.mkdir())):
        spoil()
        assert main([*command, str(tmp_path / "work")]) == 2
        assert "A file of the run cannot be written or read (" in capsys.readouterr().err


def test_few_steps_stop_between_renders_when_time_is_out(used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def render(run: Run, *_: Any) -> None:
        assert run.out_of_time
        raise OutOfTime

    monkeypatch.setattr("beyondscene.backend.training.further.render_shards", render)
    with pytest.raises(OutOfTime):
        train_few_steps(replace(few_steps(used), work=tmp_path), ignore)


def test_the_lora_goes_where_the_manifest_says_however_deep(used: Path, tmp_path: Path) -> None:
    shutil.copytree(used / "models", tmp_path / "models")
    manifest = json.loads((tmp_path / "models" / "modelset.json").read_text())
    manifest["few_steps"]["place"] = "loras/few"
    (tmp_path / "models" / "modelset.json").write_text(json.dumps(manifest))
    asked = few_steps(used, models=tmp_path / "models", minutes=None)
    train_few_steps(replace(asked, distil=replace(asked.distil, steps=1)), ignore)
    assert (tmp_path / "models" / "loras" / "few" / "lora.safetensors").is_file()


@pytest.mark.slow
def test_the_command_prints_json_and_nothing_else(tmp_path: Path) -> None:
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--views", "8"]
    command = [sys.executable, "-m", "beyondscene.backend", "train", "embedded", "--tiny", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr and all("stage" in json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("command", ["train", "evaluate", "bench"])
def test_a_machine_that_only_computes_needs_no_sockets_and_no_openexr(command: str, tmp_path: Path) -> None:
    asked = {
        "train": ["few-steps", "--models", str(tmp_path), "--work", str(tmp_path / "work")],
        "evaluate": ["--method", "none", "--out", str(tmp_path / "out")],
        "bench": ["--models", str(tmp_path), "--out", str(tmp_path / "out")],
    }[command]
    missing = "import sys; sys.modules.update(dict.fromkeys(('zmq', 'OpenEXR', 'prometheus_client')))"
    script = f"{missing}; from beyondscene.backend.cli import main; sys.exit(main({[command, *asked]!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("beyondscene: ")


def test_latents_of_another_encoder_are_made_anew(tmp_path: Path) -> None:
    renders, path = stack_views(draw_views(seed=3, first=0, count=2, size_px=64)), tmp_path / "latents.safetensors"
    first, second = build_vae((16, 16, 16, 16)), build_vae((16, 16, 16, 16))
    once = encode_renders(first, renders, path, CPU).latents
    written = path.stat().st_mtime_ns
    assert np.array_equal(encode_renders(first, renders, path, CPU).latents, once) and path.stat().st_mtime_ns == written
    assert not np.allclose(encode_renders(second, renders, path, CPU).latents, once)


@pytest.mark.parametrize(("known", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_training_is_left_to_the_cpu_where_the_gpu_does_not_know_its_precision(
    known: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if known else (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce GTX 1650")
    assert training_device("auto").type == chosen
    assert training_device("cuda").type == "cuda"  # who names it has it
