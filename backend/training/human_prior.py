"""Train the HcP layers of an embedded model: render, encode, train, write them into its folder."""

from pathlib import Path

import msgspec
import torch
from torch import nn

from ..models.hcp import save_hcp
from ..models.host_memory import reuse_freed_memory
from ..models.loras import digest_weights
from ..models.manifest import MANIFEST, ModelSetError
from ..models.sets import ModelSet, read_model_set
from .denoiser import DenoiserSizes, load_denoiser
from .hcp import HcpSettings, ResnetFeatures, limbs, train_hcp
from .latents import encode_renders
from .renders import read_shards, render_shards
from .runs import HcpRun, RenderRun, alone_in, check_numbers, claim
from .text import TextSettings
from .tokenizer import read_tokenizers
from .under_way import Report, Run, countdown
from .vae import load_vae


class HumanPriorSettings(msgspec.Struct, frozen=True):
    """The whole run. As TrainingSettings, it repeats but for rounding, resumed or not."""

    work: Path  # that of `train embedded`, whose renders are used where they are there; else 1.6 GB
    models: Path  # the folder of the model, whose role `hcp` says where the layers go
    device: torch.device
    seed: int = 0
    reference: Path | None = None  # of a ResNet that sees bodies in pose pictures; None: limbs as they are drawn
    views: int = 6000  # renders to train on
    size_px: int = 256
    processes: int = 2  # that render
    minutes: float | None = None  # stop with a checkpoint after this long; the next call goes on from there
    sizes: DenoiserSizes = DenoiserSizes()  # of the model
    text: TextSettings = TextSettings()
    hcp: HcpSettings = HcpSettings()


def train_human_prior(settings: HumanPriorSettings, report: Report) -> None:
    """Train and write the layers.

    report: receives a small dict per event, always with "stage". Raises OutOfTime; ModelSetError where the manifest has no
    role `hcp`, or the model is no embedded one; RunError where `settings.work` is in use or another run's, or a number means
    nothing.
    """
    run = Run(settings.work / "hcp", settings.seed, settings.device, report, countdown(settings.minutes))
    check_numbers(seed=settings.seed, views=settings.views, steps=settings.hcp.steps)
    model_set, views = read_model_set(settings.models), settings.work / "renders"
    if "hcp" not in model_set.manifest.roles:
        raise ModelSetError(
            f'The model set \'{model_set.name}\' does not say where its HcP layers go: add "hcp": "hcp" to the roles in its '
            f"{MANIFEST}."
        )
    out = model_set.role_folder("hcp")
    denoiser = load_denoiser(settings.models, settings.sizes, settings.text)  # now, not after hours of rendering
    reference = limbs if settings.reference is None else ResnetFeatures(settings.reference, settings.device)
    claim(views, RenderRun(seed=settings.seed, size_px=settings.size_px))
    claim(run.folder, describe_run(settings))
    reuse_freed_memory(settings.device)

    def write(layers: nn.ModuleDict) -> None:
        save_hcp(layers, settings.hcp.config, out)
        report({"stage": "export", "folder": str(out)})

    with alone_in(run.folder):
        render_shards(run, views, settings.views, settings.size_px, settings.processes)
        renders = read_shards(views, settings.views)
        vae = load_vae(settings.models, settings.device)
        latents = encode_renders(vae, renders, run.folder / "latents.safetensors", settings.device)
        tokenizers = read_tokenizers(settings.models)
        line_width_px = model_set.manifest.pose_line_width_px
        write(train_hcp(run, latents, tokenizers, denoiser, settings.hcp, line_width_px, reference, write))


def describe_run(settings: HumanPriorSettings) -> HcpRun:
    """What another call must have in common to go on with this one's checkpoint."""
    return HcpRun(
        seed=settings.seed,
        views=settings.views,
        size_px=settings.size_px,
        base=digest_base(read_model_set(settings.models)),
        reduction=settings.hcp.config.reduction,
        reference=settings.reference.name if settings.reference else "limbs",
    )


def digest_base(model_set: ModelSet) -> str:
    """Of all weights but the layers themselves, which come to be."""
    roles = {role: place for role, place in model_set.manifest.roles.items() if role != "hcp"}
    manifest = msgspec.structs.replace(model_set.manifest, roles=roles)
    return digest_weights(msgspec.structs.replace(model_set, manifest=manifest), {})
