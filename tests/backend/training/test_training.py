"""Training resumes exactly, the autoencoder starts with colours, and the whole run ends in a model set."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from beyondscene.backend.mannequins.looks import GARMENT_COLOURS
from beyondscene.backend.models.sets import MANIFEST, PRESETS
from beyondscene.backend.training.binding import Binding
from beyondscene.backend.training.checkpoints import Ema, Steps, TrainingError, set_rate
from beyondscene.backend.training.decoder import DecoderSettings, draw_crops, train_decoder
from beyondscene.backend.training.denoiser import Denoiser, DenoiserSizes
from beyondscene.backend.training.diffusion import DenoiserSettings, StepBatches, group_parameters, train_denoiser
from beyondscene.backend.training.embedded import tiny_settings, train_embedded, usual_settings
from beyondscene.backend.training.highway import lay_highway
from beyondscene.backend.training.latents import encode_renders
from beyondscene.backend.training.renders import Renders, _render_shard, draw_views, read_shards, render_shards, stack_views
from beyondscene.backend.training.rounding import Rounded, matrices, narrow
from beyondscene.backend.training.runs import RunError
from beyondscene.backend.training.text import TextEncoders, TextSettings, draw_captions, train_text
from beyondscene.backend.training.tokenizer import build_tokenizers
from beyondscene.backend.training.under_way import OutOfTime, Report, Run
from beyondscene.backend.training.vae import (
    VaeSettings,
    build_vae,
    decode,
    encode,
    standardise_latents,
    to_tensor,
    train_vae,
)
from diffusers import AutoencoderKL, StableDiffusionXLControlNetPipeline
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch.utils.data import DataLoader

CPU = torch.device("cpu")
VAE = VaeSettings(widths=(16, 16, 16, 16), steps=4, crop_px=32, crops=2, large_crop_px=64)
DENOISER = DenoiserSettings(
    sizes=DenoiserSizes(widths=(32, 32, 32), pose_widths=(8, 8, 8, 8)), steps=4, small_cells=8, small_batch=2, large_batch=1,
)  # fmt: skip
TEXT = TextSettings(widths=(32, 32), layers=(2, 2), steps=4, batch=4)


@pytest.fixture(scope="module")
def renders() -> Renders:
    return stack_views(draw_views(seed=3, first=0, count=12, size_px=128))


def ignore(_event: object) -> None:
    pass


def run_in(folder: Path, report: Report = ignore, steps: float = math.inf, seed: int = 0) -> Run:
    """A run whose time is out after so many steps."""
    asked = itertools.count(1)
    return Run(folder, seed, CPU, report, lambda: steps - next(asked) - 0.5)


def test_highway_passes_colours(renders: Renders) -> None:
    torch.manual_seed(0)
    vae = build_vae((16, 32, 64, 96))
    pictures = to_tensor(renders.pictures, CPU)
    lay_highway(vae, pictures)
    with torch.no_grad():
        restored = decode(vae, encode(vae, pictures).mean)
    error = torch.nn.functional.avg_pool2d(restored - pictures, 16)
    assert error.abs().mean() < 0.06  # of 2


def test_standardised_latents_decode_the_same(renders: Renders) -> None:
    torch.manual_seed(0)
    vae = build_vae((16, 16, 16, 16))
    pictures = to_tensor(renders.pictures, CPU)
    lay_highway(vae, pictures)
    with torch.no_grad():
        before = decode(vae, encode(vae, pictures).mean)
        standardise_latents(vae, pictures)
        latents = encode(vae, pictures).mean
        assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3)
        assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3)
        assert torch.allclose(before, decode(vae, latents), atol=1e-3)


def test_shards_read_back(tmp_path: Path) -> None:
    render_shards(run_in(tmp_path, seed=2), tmp_path, 3, 64, processes=1)
    read, drawn = read_shards(tmp_path, 3), stack_views(draw_views(3, 0, 3, 64))
    assert np.array_equal(read.pictures, drawn.pictures)
    assert np.array_equal(read.keypoints, drawn.keypoints)
    assert (read.captions, read.looks, read.scenes) == (drawn.captions, drawn.looks, drawn.scenes)


def test_two_runs_may_render_the_same_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of the model and of its few steps do, whose folder for renders is the same."""

    def save_while_another_run_does(*given: Any) -> None:
        save_file(*given)
        monkeypatch.undo()
        _render_shard(task)

    task = (tmp_path, 3, 0, 2, 64)
    monkeypatch.setattr("beyondscene.backend.training.renders.save_file", save_while_another_run_does)
    _render_shard(task)
    assert len(read_shards(tmp_path, 2).captions) == 2 and len(list(tmp_path.iterdir())) == 1


def test_a_last_shard_that_is_not_full_is_rendered_anew_for_more_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[int] = []

    class Here(ThreadPoolExecutor):
        def __init__(self, processes: int, **_: object) -> None:
            super().__init__(processes)

        def map(self, fn: Callable, *iterables: Any, timeout: float | None = None, chunksize: int = 1) -> Iterator:
            tasks.extend(task[2] for task in iterables[0])
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)

    monkeypatch.setattr("beyondscene.backend.training.renders._SHARD_VIEWS", 2)
    monkeypatch.setattr("beyondscene.backend.training.workers.ProcessPoolExecutor", Here)
    for count in (3, 4, 3):
        render_shards(run_in(tmp_path, seed=2), tmp_path, count, 64, processes=1)
        assert len(read_shards(tmp_path, count).pictures) == len(read_shards(tmp_path, count).looks) == count
    assert tasks == [0, 2, 2]  # the second one twice
    assert np.array_equal(read_shards(tmp_path, 4).pictures, stack_views(draw_views(3, 0, 4, 64)).pictures)


def test_autoencoder_resumes_exactly(renders: Renders, tmp_path: Path) -> None:
    _assert_resumes(lambda run: train_vae(run, renders, VAE, None), tmp_path)


def test_denoiser_resumes_exactly(renders: Renders, tmp_path: Path) -> None:
    torch.manual_seed(0)
    latents = encode_renders(build_vae((16, 16, 16, 16)), renders, tmp_path / "latents.safetensors", CPU)

    def train(run: Run) -> Denoiser:
        torch.manual_seed(0)
        text = TextEncoders(TEXT, build_tokenizers()[0])
        return train_denoiser(run, latents, build_tokenizers(), text, DENOISER, 4, None, ignore)

    _assert_resumes(train, tmp_path)


def test_a_decoder_alone_resumes_exactly(renders: Renders, tmp_path: Path) -> None:
    def train(run: Run) -> AutoencoderKL:
        torch.manual_seed(0)
        vae = build_vae((16, 16, 16, 16))
        latents = encode_renders(vae, renders, tmp_path / "latents.safetensors", CPU)
        settings = DecoderSettings(steps=4, crop_cells=6, crops=2, large_crop_cells=8)
        return train_decoder(run, latents, vae, settings)

    _assert_resumes(train, tmp_path)


def test_pixels_that_miss_what_is_beyond_their_crop_weigh_nothing(renders: Renders, tmp_path: Path) -> None:
    latents = encode_renders(build_vae((16, 16, 16, 16)), renders, tmp_path / "latents.safetensors", CPU)
    _, pictures, whole = draw_crops(latents, np.random.default_rng(0), 2, 16, CPU)
    assert pictures.shape == (2, 3, 128, 128) and (whole > 0).all()  # a whole view misses nothing
    within = [draw_crops(latents, np.random.default_rng(seed), 8, 6, CPU)[2] for seed in range(4)]
    rims = torch.cat(within)[:, 0, :8, 8:-8].flatten(1)
    assert (rims == 0).all(1).any() and (rims > 0).all(1).any()  # some crops begin at the top of their view
    assert (torch.cat(within)[:, :, 8:-8, 8:-8] > 0).all()


def test_every_step_with_several_people_learns_whose_words_are_whose(
    renders: Renders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Binding] = []

    class Recorded(Binding):
        def __enter__(self) -> Binding:
            steps.append(self)
            return super().__enter__()

    monkeypatch.setattr("beyondscene.backend.training.diffusion.Binding", Recorded)
    gpu = usual_settings(tmp_path, tmp_path, torch.device("cuda")).denoiser  # which has no other way to run the network
    settings = msgspec.structs.replace(gpu, sizes=DENOISER.sizes, steps=6, small_batch=4, large_batch=2, loaders=1)
    latents = encode_renders(build_vae((16, 16, 16, 16)), renders, tmp_path / "latents.safetensors", CPU)
    text = TextEncoders(TEXT, build_tokenizers()[0])
    train_denoiser(run_in(tmp_path), latents, build_tokenizers(), text, settings, 4, None, ignore)
    several = [step for step in steps if len(step.rows)]
    assert len(steps) == 6 and len(several) >= 2
    assert all(step.losses and float(step.loss().detach()) > 0 for step in several)


def test_a_step_without_finite_gradients_is_left_out_and_many_in_a_row_end_the_run(tmp_path: Path) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    left = Steps(run_in(tmp_path), "layer", layer, Ema(layer, 0.5), torch.optim.SGD(layer.parameters(), 0.1), 100, 100)
    weights = []
    with pytest.raises(TrainingError, match="The gradients of 20 steps in a row, up to step 21, are no finite numbers"):
        for step in left:
            weights.append(float(layer.weight.detach()))
            left.learn(layer(torch.full((1, 1), torch.nan if step else 1.0)).sum())
    assert weights == [1.0, *[pytest.approx(0.9)] * 20] and left.left_out == 20


def test_many_steps_without_finite_gradients_end_the_run_though_not_in_a_row(tmp_path: Path) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    left = Steps(run_in(tmp_path), "layer", layer, Ema(layer, 0.5), torch.optim.SGD(layer.parameters(), 0.1), 999, 999)
    with pytest.raises(TrainingError, match="The gradients of 41 of 200 steps, up to step 81, are no finite numbers"):
        for step in left:
            left.learn(layer(torch.full((1, 1), 1.0 if step % 2 else torch.nan)).sum())
    assert left.left_out == 41


def test_the_log_tells_how_long_batches_let_wait(renders: Renders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = StepBatches.__getitem__
    monkeypatch.setattr(StepBatches, "__getitem__", lambda self, step: time.sleep(0.2) or draw(self, step))
    latents = encode_renders(build_vae((16, 16, 16, 16)), renders, tmp_path / "latents.safetensors", CPU)
    text = TextEncoders(TEXT, build_tokenizers()[0])
    settings, events = msgspec.structs.replace(DENOISER, steps=10, large_share=0.0), list[dict]()
    train_denoiser(run_in(tmp_path, events.append), latents, build_tokenizers(), text, settings, 4, None, ignore)
    (event,) = events
    assert event["waited_s"] > 0.2 and event["left_out"] == 0


def test_weights_are_learnt_as_their_file_holds_them() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    exact = layer.weight.detach().clone()
    with Rounded(matrices(layer)):
        rounded = layer.weight.detach().clone()
        layer(torch.ones(1, 64)).sum().backward()
    assert torch.equal(layer.weight, exact) and layer.weight.grad is not None
    assert not torch.equal(rounded, exact) and torch.allclose(rounded, exact, rtol=0.07, atol=1e-3)
    bias = layer.bias.detach().clone()
    narrow(layer)
    assert layer.weight.dtype == torch.float8_e4m3fn and torch.equal(layer.weight.float(), rounded)
    assert torch.equal(layer.bias, bias)


def test_a_run_that_shall_fit_its_time_is_as_long_as_its_first_steps_tell(
    renders: Renders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.training.diffusion._PACE", (1, 2))
    latents = encode_renders(build_vae((16, 16, 16, 16)), renders, tmp_path / "latents.safetensors", CPU)
    text = TextEncoders(TEXT, build_tokenizers()[0])
    settings = msgspec.structs.replace(DENOISER, steps=1000)
    events: list[dict] = []

    def train(steps: float, fit: bool) -> Denoiser:
        run = run_in(tmp_path, events.append, steps)
        return train_denoiser(run, latents, build_tokenizers(), text, settings, 4, None, ignore, fit)

    first = train(3, fit=True)
    assert [event["steps"] for event in events if "steps" in event] == [3]  # no time is left for more than the step that is due
    again = train(1, fit=True)  # it was finished, and takes no step more
    _assert_same(first, again)
    with pytest.raises(OutOfTime):  # goes on where it shall not fit
        train(1, fit=False)


def test_a_run_from_nothing_sees_whole_views_in_its_last_part_however_short_it_is(renders: Renders, tmp_path: Path) -> None:
    """Also in batches that other processes draw."""
    latents = encode_renders(build_vae((16, 16, 16, 16)), renders, tmp_path / "latents.safetensors", CPU)
    settings = msgspec.structs.replace(DENOISER, steps=1000, large_share=1.0, large_from=0.5, halved_share=0.0)
    batches = StepBatches(latents, build_tokenizers(), settings, 4, seed=0)
    loaded = DataLoader(batches, batch_size=None, num_workers=1, sampler=range(12), multiprocessing_context="fork")
    cells = []
    for batch in loaded:
        batches.fit(12)
        cells.append(batch.latents.shape[-1])
    assert cells == 6 * [settings.small_cells] + 6 * [16]


def test_text_encoders_resume_exactly(tmp_path: Path) -> None:
    _assert_resumes(lambda run: train_text(run, build_tokenizers(), TEXT), tmp_path)


def test_captions_come_with_the_answers_they_give() -> None:
    tokenizers = build_tokenizers()
    tokens, answers = draw_captions(tokenizers, np.random.default_rng(0), 40)
    colours = list(GARMENT_COLOURS)
    assert tokens.shape == (2, 40, 1, 77)
    told = 0
    for row in range(40):
        caption = tokenizers[0].decode(tokens[0, row, 0], skip_special_tokens=True)
        people = [int(answer) for answer in answers["shirt"][row] if answer >= 0]
        told += len(people)
        for person, colour in enumerate(people):
            worn = "dress" if answers["garment"][row, person] == 3 else "shirt"
            assert f"{colours[colour]} {worn}" in caption
        if answers["scene"][row, 0] < 0:
            assert people  # a caption without people names its scene
    assert told > 40


def test_text_encoders_learn_slowest() -> None:
    denoiser = Denoiser(DENOISER.sizes, TextEncoders(TEXT, build_tokenizers()[0]))
    groups = group_parameters(denoiser, text_share=0.1)
    grouped = {id(parameter): group.get("share", 1.0) for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(grouped) == len(list(denoiser.parameters()))
    for name, parameter in denoiser.named_parameters():
        assert (grouped[id(parameter)] < 1) == name.startswith("text."), name
    optimizer = torch.optim.AdamW(groups)
    set_rate(optimizer, 1e-3, step=50, steps=100, warm_up=1, flat=0.9)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-4])


def test_whole_run_ends_in_a_model_set(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "work", tmp_path / "out", CPU)
    settings = msgspec.structs.replace(settings, views=8, processes=1)
    stages: list[str] = []
    train_embedded(settings, lambda event: stages.append(event["stage"]))
    assert list(dict.fromkeys(stages)) == ["render", "read", "encode", "export"]  # too short for the others to report
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json", ".jsonl"}
    assert len({path.stat().st_mode for path in settings.out.rglob("*.*") if path.is_file()}) == 1  # who reads one reads all
    assert (settings.out / MANIFEST).read_bytes() == (PRESETS / "embedded" / MANIFEST).read_bytes()
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(settings.out, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pose = Image.fromarray(np.zeros((64, 64, 3), np.uint8))
    picture = pipeline("a person", image=pose, height=64, width=64, num_inference_steps=1, output_type="np", return_dict=False)[
        0
    ]
    assert picture.shape == (1, 64, 64, 3)

    onwards = Denoiser(settings.denoiser.sizes, TextEncoders(settings.text, build_tokenizers()[0]))
    onwards.load(settings.out)
    assert torch.equal(onwards.unet.conv_in.weight, pipeline.unet.conv_in.weight)
    faster = msgspec.structs.replace(settings.denoiser, learning_rate=0.1)  # so that few steps show in eight bits
    further = msgspec.structs.replace(
        settings, start=settings.out, work=tmp_path / "further", out=tmp_path / "better", denoiser=faster
    )
    train_embedded(further, ignore)
    assert not [path for path in further.out.rglob("*.json") if str(tmp_path) in path.read_text()]
    assert _changed_parts(settings.out, further.out) == {"unet", "controlnet"}
    others = msgspec.structs.replace(
        further, further=frozenset({"vae", "segmenter"}), work=tmp_path / "others", out=tmp_path / "best"
    )
    train_embedded(others, ignore)
    assert _changed_parts(settings.out, others.out) == {"vae", "segmenter"}
    half = msgspec.structs.replace(further, further=frozenset({"decoder"}), work=tmp_path / "half", out=tmp_path / "fine")
    train_embedded(half, ignore)
    assert _changed_parts(settings.out, half.out) == {"vae"}
    vae, before = (load_file(next((folder / "vae").glob("*.safetensors"))) for folder in (half.out, settings.out))
    assert {name.split(".")[0] for name, values in vae.items() if not torch.equal(values, before[name])} == {"decoder"}
    (half.out / "few_steps").mkdir()
    others_in_it = (half.out / "README.md", half.out / "few_steps" / "lora.safetensors")
    for path in others_in_it:
        path.write_text("kept")
    before = (half.out / "unet").stat().st_ino
    half.out.rename(half.out.with_name(".fine.old"))  # as where it was stopped between two renames
    (tmp_path / "fine.old").mkdir()  # somebody's own
    train_embedded(half, ignore)
    assert (half.out / "unet").stat().st_ino != before  # all of it is new, and came at once
    assert [path.read_text() for path in others_in_it] == ["kept"] * 2
    assert list(tmp_path.glob("*.old")) == [tmp_path / "fine.old"] and not list(tmp_path.glob("*.part"))
    with pytest.raises(RunError, match="--fit fits the training to --minutes: say how many"):
        train_embedded(msgspec.structs.replace(half, fit=True), ignore)
    with pytest.raises(OutOfTime):
        train_embedded(msgspec.structs.replace(half, fit=True, render_only=True), ignore)  # which needs no time to fit
    with pytest.raises(RunError, match="--further vae trains the decoder with the rest: leave out one of the two"):
        train_embedded(msgspec.structs.replace(half, further=frozenset({"vae", "decoder"})), ignore)


def _changed_parts(one: Path, other: Path) -> set[str]:
    """The parts whose weights differ."""
    changed = set()
    for part in ("vae", "unet", "controlnet", "segmenter"):
        first, second = (load_file(next((folder / part).glob("*.safetensors"))) for folder in (one, other))
        if not all(torch.equal(first[key], second[key]) for key in first):
            changed.add(part)
    return changed


def _assert_resumes(train: Callable[[Run], torch.nn.Module], folder: Path) -> None:
    """A run that is stopped after two steps comes to the same as one that is not."""
    whole = train(run_in(folder / "whole"))
    with pytest.raises(OutOfTime):
        train(run_in(folder / "parts", steps=2))
    _assert_same(whole, train(run_in(folder / "parts")))


def _assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, tensor), same in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        # Two uninterrupted runs differ as much now and then: torch's CPU kernels round by how memory happens to be aligned.
        # A lost optimizer state or average shows as 1e-3 and more.
        assert (tensor.double() - same.double()).abs().max() < 3e-4, name
