"""What trainings on top of a finished embedded model have in common: few_steps.py and human_prior.py."""

from pathlib import Path

import msgspec
import torch

from .denoiser import DenoiserSizes
from .latents import LatentSet, encode_renders
from .renders import read_shards, render_shards
from .runs import RenderRun, claim
from .text import TextSettings
from .under_way import Run
from .vae import load_vae


class FurtherSettings(msgspec.Struct, frozen=True):
    """The whole run. As TrainingSettings, it repeats but for rounding, resumed or not."""

    work: Path  # that of `train embedded`, whose renders are used where they are there; else 1.6 GB
    models: Path  # the model's folder, into which what is trained goes as well
    device: torch.device
    seed: int = 0
    views: int = 6000  # renders to train on
    size_px: int = 256
    processes: int = 2  # that render
    minutes: float | None = None  # stop with a checkpoint after this long; the next call goes on from there
    sizes: DenoiserSizes = DenoiserSizes()  # of the model
    text: TextSettings = TextSettings()

    @property
    def renders(self) -> Path:
        return self.work / "renders"


def claim_renders(settings: FurtherSettings) -> None:
    """Raises RunError where the renders in the folder are another run's."""
    claim(settings.renders, RenderRun(seed=settings.seed, size_px=settings.size_px))


def gather_latents(run: Run, settings: FurtherSettings) -> LatentSet:
    """Render what is missing, and encode it by the model's own VAE."""
    render_shards(run, settings.renders, settings.views, settings.size_px, settings.processes)
    renders = read_shards(settings.renders, settings.views)
    vae = load_vae(settings.models, settings.device)
    return encode_renders(vae, renders, run.folder / "latents.safetensors", settings.device)
