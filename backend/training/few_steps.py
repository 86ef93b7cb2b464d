"""Train the LoRA with which an embedded model draws in a few steps: render, encode, distil, write it into its folder."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from ..models.host_memory import reuse_freed_memory
from ..models.sets import own_few_steps, read_model_set
from .denoiser import Denoiser, DenoiserSizes
from .distil import DistilSettings, distil, save_lora
from .latents import encode_renders
from .renders import read_shards, render_shards
from .runs import FewStepsRun, RenderRun, check_numbers, claim, digest_model_set
from .text import TextEncoders, TextSettings
from .tokenizer import read_tokenizers
from .vae import load_vae


class FewStepsSettings(msgspec.Struct, frozen=True):
    """The whole run. As TrainingSettings, it repeats but for rounding, resumed or not."""

    work: Path  # that of `train embedded`, whose renders are used where they are there; else 1.6 GB
    models: Path  # the teacher's folder, into which the LoRA goes as well
    device: torch.device
    seed: int = 0
    views: int = 6000  # renders to train on
    size_px: int = 256
    processes: int = 2  # that render
    minutes: float | None = None  # stop with a checkpoint after this long; the next call goes on from there
    sizes: DenoiserSizes = DenoiserSizes()  # of the teacher
    text: TextSettings = TextSettings()
    distil: DistilSettings = DistilSettings()


def train_few_steps(settings: FewStepsSettings, report: Callable[[dict], None]) -> bool:
    """Train and write the LoRA; return False if the time ran out first: call again to go on.

    report: receives a small dict per event, always with "stage". Raises ModelSetError where the manifest has no entry
    `few_steps`, which says where the LoRA goes and how many steps it is for, and RunError where `settings.work` is another
    run's, as of a teacher with other weights, or where a number means nothing.
    """
    started = time.monotonic()
    check_numbers(seed=settings.seed, views=settings.views, steps=settings.distil.steps)
    model_set, device, folder = read_model_set(settings.models), settings.device, settings.work / "few-steps"
    few_steps = own_few_steps(model_set.manifest)
    out = few_steps.path(settings.models)
    plan = msgspec.structs.replace(settings.distil, jumps=few_steps.steps)
    claim(folder, describe_run(settings, plan))
    claim(settings.work / "renders", RenderRun(seed=settings.seed, size_px=settings.size_px))
    reuse_freed_memory(device)

    def out_of_time() -> bool:
        return settings.minutes is not None and time.monotonic() - started > 60 * settings.minutes

    def write(layers: dict[str, Tensor]) -> None:
        out.parent.mkdir(exist_ok=True)
        save_lora(layers, out)
        report({"stage": "export", "file": str(out)})

    views = settings.work / "renders"
    if not render_shards(views, settings.views, settings.size_px, settings.seed + 1, settings.processes, report, out_of_time):
        return False
    renders = read_shards(views, settings.views)
    latents = encode_renders(load_vae(settings.models, device), renders, folder / "latents.safetensors", device)
    tokenizers = read_tokenizers(settings.models)
    teacher = Denoiser(settings.sizes, TextEncoders(settings.text, tokenizers[0]))
    teacher.load(settings.models)
    return distil(
        latents, tokenizers, teacher, plan, model_set.manifest, folder, settings.seed, device, out_of_time, write, report
    )


def describe_run(settings: FewStepsSettings, plan: DistilSettings) -> FewStepsRun:
    """What another call must have in common to go on with this one's checkpoint."""
    return FewStepsRun(
        seed=settings.seed,
        views=settings.views,
        size_px=settings.size_px,
        teacher=digest_model_set(settings.models),
        jumps=plan.jumps,
        teacher_steps=plan.teacher_steps,
        rank=plan.rank,
    )
