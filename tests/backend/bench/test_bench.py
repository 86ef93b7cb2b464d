"""Methods side by side: the same picture as the plain loop, work that adds up, and a table after every picture."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace as exchange
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.bench import count
from beyondscene.backend.bench.count import Counter
from beyondscene.backend.bench.layouts import TOY
from beyondscene.backend.bench.meter import Meter, StageCost, measure_ceiling
from beyondscene.backend.bench.plain import denoise_plainly, drawing_plainly
from beyondscene.backend.bench.random_models import make_random_models
from beyondscene.backend.bench.run import (
    LEVEL_SHARE,
    SPEED,
    Runs,
    Setup,
    bench,
    expect_seconds,
    largest_difference,
    summarise,
)
from beyondscene.backend.bench.scene import bench_request
from beyondscene.backend.bench.unit_costs import unit_costs
from beyondscene.backend.cli import main
from beyondscene.backend.machine import Memory
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import read_model_set
from beyondscene.backend.pipeline import instances, joint, render
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.vae_steps import Local
from beyondscene.protocol import RenderRequest, Stage
from msgspec.structs import replace

from ...tiny import save_tiny_model_set
from ...tiny_hub import save_tiny_sd15
from ..pipeline.test_shortcuts import level

KEYS = {
    "method", "size", "seconds", "plain_seconds", "ratio", "max_difference", "evaluations", "tflop", "achieved_tflops",
    "ceiling_share", "unet_seconds", "unet_ceiling_share", "peak_device_mib", "peak_host_mib", "models", "machine", "precision",
    "people", "steps",
}  # fmt: skip

SETUP = Setup(models="toy-random", machine="here", precision="float32", people=2)


@pytest.fixture(scope="module")
def models() -> Models:
    return make_random_models(TOY, torch.device("cpu"), torch.float32)


def all_runs(models: Models, methods: list[str]) -> tuple[list[list[int]], list[Runs]]:
    """How many rounds each method had after every picture, and all runs in the end."""
    rounds, runs = [], []
    for runs in bench(models, methods, [(128, 128)], people=2, steps=2, rounds=2, ceiling_flops=1e9, tell=lambda _: None):
        rounds.append([len(one.rounds) for one in runs])
    return rounds, runs


def test_the_plain_loop_draws_our_picture_and_costs_more(models: Models) -> None:
    rounds, runs = all_runs(models, ["plain", "beyondscene"])
    assert rounds == [[1], [1, 1], [2, 1], [2, 2]]  # A B A B
    plain, ours = summarise(runs, SETUP, ceiling_flops=1e9)
    assert (plain.method, ours.method) == ("plain", "beyondscene")  # ours last, whatever the order of the runs
    pictures = [one.picture for one in runs if one.picture is not None]
    assert ours.max_difference == largest_difference(*pictures)
    assert ours.plain_seconds == plain.seconds and ours.ratio == pytest.approx(plain.seconds / ours.seconds, rel=1e-3)
    assert ours.evaluations == plain.evaluations and plain.tflop > ours.tflop > 0  # it reads each pose once
    assert ours.achieved_tflops == pytest.approx(ours.tflop / ours.seconds, rel=1e-3)
    assert ours.ceiling_share == pytest.approx(ours.achieved_tflops * 1e12 / 1e9, rel=1e-3)
    assert 0 < ours.unet_seconds < ours.seconds and 0 < ours.unet_ceiling_share < 1000
    assert ours.peak_host_mib > 50 and ours.peak_device_mib == 0


@pytest.mark.parametrize("settings", [{}, {"guide_pose": True}, {"controlnet_conditioning_scale": 0.0}, {"scheduler": "euler"}])
def test_from_the_same_picture_a_level_comes_to_the_same(
    models: Models, two_people: RenderRequest, settings: dict[str, Any]
) -> None:
    ours = level(models, two_people, **settings)
    with drawing_plainly():
        plain = level(models, two_people, **settings)
    assert largest_difference(ours, plain) <= 1 and ours.std() > 1


def test_it_is_the_plain_loop_that_runs_within_only(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    with drawing_plainly():
        assert instances.denoise is denoise_plainly
        monkeypatch.setattr(joint, "predict", None)  # the fast loop would break
        _, (plain,) = all_runs(models, ["plain"])
    assert instances.denoise is joint.denoise and plain.picture is not None


def test_stages_add_up_to_evaluations_times_what_a_view_costs(models: Models) -> None:
    counter, request = Counter(models), bench_request(2, 128, 128)
    meter = Meter(counter, models.device)
    with meter.measuring():
        render(models, replace(request, settings=replace(request.settings, steps=2)), {}, meter)
    stages = {(cost.stage, cost.level): cost for cost in meter.costs}
    assert {stage for stage, _ in stages} >= {"instances", "inpaint", "enlarge", "decode"}
    units, instances = unit_costs(models), stages["instances", 0]
    assert instances.evaluations == 2 * 2 * 2  # people, steps, guidance
    encoder = PromptEncoder(models)
    with counter.counting():
        for prompt in ("", *(one.prompt for one in request.characters)):
            encoder.encode(prompt)
    texts = counter.take()[0]
    expected = instances.evaluations * units.known_view + texts + 3 * units.text + 2 * units.embedding + 2 * units.decode
    assert instances.tflop * 1e12 == pytest.approx(expected, rel=1e-3)
    assert stages["decode", 1].evaluations == 0 and stages["decode", 1].tflop * 1e12 == pytest.approx(4 * units.decode, rel=0.2)


def test_what_has_been_counted_runs_without_the_counter(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would slow a timed picture down, the VAE's layers and tiles included."""
    settings = replace(bench_request(1, 128, 128).settings, steps=1)
    counter, request = Counter(models), replace(bench_request(1, 128, 128), settings=settings)

    def work() -> list[float]:
        meter = Meter(counter, models.device)
        with meter.measuring():
            render(models, request, {}, meter)
        return [cost.tflop for cost in meter.costs]

    first = work()
    monkeypatch.setattr(count, "count_flop", None)  # it would break
    assert work() == first and sum(first) > 0


def test_our_loop_and_the_plain_one_are_counted_alike_whichever_runs_first(models: Models) -> None:
    request = bench_request(1, 128, 128)
    request = replace(request, settings=replace(request.settings, steps=1))

    def counted(counter: Counter, *, plainly: bool) -> float:
        meter = Meter(counter, models.device)
        with meter.measuring(), drawing_plainly() if plainly else nullcontext():
            render(models, request, {}, meter)
        return sum(cost.tflop for cost in meter.costs) * 1e12

    one, other = Counter(models), Counter(models)
    ours, plain = counted(one, plainly=False), counted(one, plainly=True)
    assert (counted(other, plainly=True), counted(other, plainly=False)) == (plain, ours) and ours < plain
    for told, way in ((ours, nullcontext), (plain, drawing_plainly)):
        with count.count_flop() as independent, way():
            render(models, request, {})
        assert told == pytest.approx(independent.get_total_flops())


@pytest.mark.parametrize("make", [save_tiny_model_set, save_tiny_sd15])
def test_the_segmenter_counts_as_a_whole(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "models")
    models = load_models(read_model_set(tmp_path / "models"), torch.device("cpu"), torch.float32)
    counter, picture = Counter(models), np.zeros((64, 64, 3), np.uint8)
    with counter.counting():
        models.segmenter.segment(picture, (), (8, 8, 56, 56))
    with count.count_flop() as independent:
        models.segmenter.segment(picture, (), (8, 8, 56, 56))
    assert counter.take().flop == independent.get_total_flops() > 0


def test_counting_leaves_the_networks_as_they_were(models: Models) -> None:
    before = Local.apply
    with Counter(models).counting():
        assert "forward" in vars(models.unet) and Local.apply is not before
    assert "forward" not in vars(models.unet) and "forward" not in vars(models.controlnet) and Local.apply is before


def test_nothing_is_begun_that_would_end_too_late(models: Models) -> None:
    told: list[str] = []
    options = {"people": 1, "steps": 1, "rounds": 3, "tell": told.append}
    states = list(bench(models, ["beyondscene"], [(64, 64), (128, 128)], deadline_s=time.time(), ceiling_flops=1e9, **options))
    assert len(states) <= 1 and "left out for want of time: beyondscene, 128x128, round 3" in told


def test_what_is_expected_of_a_picture_is_reckoned_from_one_step_of_it() -> None:
    def cost(stage: Stage, seconds: float, evaluations: int, tflop: float) -> StageCost:
        work = {"evaluations": evaluations, "tflop": tflop, "unet_seconds": 0.0, "unet_tflop": 0.0}
        return StageCost(stage=stage, level=1, seconds=seconds, peak_device_mib=0, peak_host_mib=0, **work)

    first = [cost("enlarge", 99.0, 8, 2.0), cost("decode", 3.0, 0, 5.0)]  # the first calls of the networks do not count
    ours, theirs = (Runs(method, (64, 64), first=first, steps=10) for method in ("beyondscene+steps=10", "demofusion"))
    ceiling_flops = 1e12 / SPEED
    assert expect_seconds(ours, [], ceiling_flops) == pytest.approx(10 * LEVEL_SHARE * 2 + 3)
    assert expect_seconds(theirs, [], ceiling_flops) == pytest.approx(10 * 2 + 3)
    ours.rounds.append([cost("enlarge", 7.0, 8, 2.0)])
    larger = Runs(ours.method, (128, 128))
    assert expect_seconds(ours, [], ceiling_flops) == 7.0 and expect_seconds(larger, [ours], ceiling_flops) == 56.0
    assert expect_seconds(Runs("direct", (128, 128)), [ours, theirs], ceiling_flops) == 0.0


def test_tunings_are_measured_beside_the_method_as_it_is(models: Models) -> None:
    told: list[str] = []
    options = {"people": 1, "steps": 1, "rounds": 1, "ceiling_flops": 1e9, "tell": told.append}
    tunings = [("fused",), ("channels_last", "fused")]
    *_, runs = bench(models, ["beyondscene"], [(64, 64)], tunings=tunings, warm_up=False, **options)
    names = ["beyondscene", "beyondscene (fused)", "beyondscene (channels_last+fused)"]
    assert [one.name for one in runs] == names and all(len(one.rounds) == 1 and not one.first for one in runs)
    assert [row.method for row in summarise(runs, SETUP, 1e9)] == [*names[1:], names[0]]  # as it is, last
    assert len({sum(stage.evaluations for stage in one.stages) for one in runs}) == 1


def test_what_breaks_off_is_told_and_the_others_are_measured(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("beyondscene.backend.evaluation.methods.direct.draw", break_off)
    told, faults = [], []
    options = {"people": 1, "steps": 1, "rounds": 2, "ceiling_flops": 1e9, "tell": told.append, "faults": faults}
    methods = ["direct", "beyondscene", "beyondscene+guidance_scale=1"]
    *_, runs = bench(models, methods, [(64, 64), (72, 64)], **options)
    assert faults == ["direct"] and "direct, 64x64: broke off with OutOfMemoryError: CUDA out of memory" in told
    assert [(one.method, len(one.rounds)) for one in runs] == [(method, 2) for _ in range(2) for method in methods[1:]]
    evaluations = [sum(stage.evaluations for stage in one.stages) for one in runs[:2]]
    assert evaluations[0] == 2 * evaluations[1]  # the variant goes without guidance


def test_without_matplotlib_the_tables_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("beyondscene.backend.cli.bench.has_matplotlib", lambda: False)
    command = ["bench", "--models", "toy-random", "--method", "beyondscene", "--size", "64x64", "--people", "1", "--steps", "1"]
    assert main([*command, "--rounds", "1", "--device", "cpu", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.jsonl", "bench.md"]
    assert "bench.png is left out" in capsys.readouterr().err


def test_a_guided_pair_counts_twice_and_without_guidance_once(models: Models) -> None:
    manifest = replace(TOY.manifest, guidance_scale=1.0)
    unguided = exchange(models, model_set=replace(models.model_set, manifest=manifest))
    (guided,), (alone,) = (all_runs(one, ["beyondscene"])[1] for one in (models, unguided))
    evaluations = [sum(stage.evaluations for stage in one.stages) for one in (guided, alone)]
    assert evaluations[0] == 2 * evaluations[1]


def test_command_prints_one_object_with_the_agreed_keys_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.bench.report.device_name", lambda _: "プロセッサ")
    monkeypatch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")  # as where the locale has no more
    command = ["bench", "--models", "toy-random", "--size", "64x64", "--size", "128x64", "--people", "1", "--steps", "1"]
    assert main([*command, "--rounds", "1", "--device", "cpu", "--out", str(tmp_path), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["size"] for line in lines] == ["64x64"] * 4 + ["128x64"] * 4
    last = json.loads(lines[-1])
    assert set(last) == KEYS and last["method"] == "beyondscene" and last["max_difference"] is not None
    assert (last["models"], last["people"], last["steps"], last["precision"]) == ("toy-random", 1, 1, "float32")
    markdown = (tmp_path / "bench.md").read_text("utf-8")
    assert last["machine"] in markdown
    assert (tmp_path / "bench.jsonl").read_text("utf-8").splitlines() == lines
    assert "| demofusion | 128x64 |" in markdown and "## beyondscene, 128x64" in markdown and "| enlarge" in markdown
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "100x100"], "The width is 100 px, but it must be a multiple of 8: use 96 or 104."),
        (["--size", "8x8"], "The width is 8 px, but a picture has at least 64"),
        (["--method", "magic"], "There is no method 'magic': known are plain, direct"),
        (["--method", "plain+steps=2"], "'plain+steps=2' gives plain other settings, but it draws our picture with ours"),
        (["--models", "nowhere"], "There is no model set 'nowhere'"),
        (["--models", "nowhere"], "With random weights there are sdxl-random and toy-random."),
        (["--device-memory", "24", "--device", "cpu"], "--device-memory is 24 GiB, but the device 'cpu' is no CUDA device"),
    ],
)
def test_refusals(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--models", "toy-random", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--steps", "1000"], ["--people", "-1"], ["--people", "9"]])
def test_numbers_are_refused_while_the_command_is_read(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["bench", *arguments])
    assert refused.value.code == 2 and f"'{arguments[1]}' is no " in capsys.readouterr().err


def test_an_unknown_tuning_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["bench", "--tune", "float8+magic"])
    assert refused.value.code == 2 and "no tuning 'magic': join some of channels_last, fused" in capsys.readouterr().err


def test_largest_difference_looks_everywhere() -> None:
    one = np.full((300, 8, 3), 200, np.uint8)
    other = one.copy()
    other[299, 7, 2] = 255
    assert largest_difference(one, other) == 55 and largest_difference(one, one) == 0


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.cli.bench.load", None)  # it would break
    (tmp_path / "file").touch()
    assert main(["bench", "--models", "toy-random", "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


@pytest.mark.parametrize("allowed", [True, False])
def test_the_ceiling_of_single_precision_is_in_the_mode_of_convolutions(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    multiply, modes = torch.matmul, []
    monkeypatch.setattr(torch, "matmul", lambda *two: modes.append(torch.backends.cuda.matmul.allow_tf32) or multiply(*two))
    before = torch.backends.cuda.matmul.allow_tf32
    measure_ceiling(torch.device("cpu"), torch.float32, size=8)
    assert set(modes) == {allowed} and torch.backends.cuda.matmul.allow_tf32 == before


def test_the_ceiling_is_a_speed() -> None:
    assert 1e8 < measure_ceiling(torch.device("cpu"), torch.float32, size=256) < 1e14


def test_networks_that_the_machine_cannot_hold_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.cli.bench.find_memory", lambda: Memory(10**6, 10**6))
    assert main(["bench", "--models", "toy-random", "--size", "64x64", "--device", "cpu", "--precision", "float32"]) == 2
    assert "GB in float32, but the machine has 0.0 GB of memory: choose --precision bfloat16" in capsys.readouterr().err
