"""Train the embedded model: render, train the autoencoder, encode, train segmenter and denoiser, export."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec
import torch

from .denoiser import Denoiser, DenoiserSizes
from .diffusion import DenoiserSettings, train_denoiser
from .export import MODEL_SET, export_model_set
from .latents import encode_renders
from .renders import read_shards, render_shards
from .segmenter import SegmenterSettings, train_segmenter
from .tokenizer import build_tokenizers
from .vae import VaeSettings, train_vae

Report = Callable[[dict], None]


class TrainingSettings(msgspec.Struct, frozen=True):
    """The whole run. The same settings on the same kind of device give the same weights, resumed or not."""

    work: Path  # shards, checkpoints and train.jsonl: about 3.5 GB
    out: Path  # the model set folder to write
    seed: int = 0
    views: int = 14000  # renders to train on
    size_px: int = 256
    processes: int = 2  # that render
    device: str = "auto"  # "auto", "cpu", "cuda", ...
    minutes: float | None = None  # stop with a checkpoint after this long; the next call goes on from there
    vae: VaeSettings = VaeSettings()
    segmenter: SegmenterSettings = SegmenterSettings()
    denoiser: DenoiserSettings = DenoiserSettings()


def tiny_settings(work: Path, out: Path, minutes: float | None = None, device: str = "auto") -> TrainingSettings:
    """Return settings that run through all stages in under a minute on 2 CPU cores; the weights are of no use."""
    return TrainingSettings(
        work=work, out=out, minutes=minutes, device=device, views=64, size_px=128,
        vae=VaeSettings(widths=(16, 16, 16, 16), steps=8, crop_px=64, large_crop_px=96),
        segmenter=SegmenterSettings(widths=(8, 8, 16, 24), steps=6, batch=2, crop_px=96),
        denoiser=DenoiserSettings(
            sizes=DenoiserSizes(widths=(32, 32, 32), pose_widths=(8, 8, 8, 8), text_widths=(32, 32), text_layers=(2, 2)),
            steps=8, small_cells=8, small_batch=2, large_batch=1,
        ),
    )  # fmt: skip


def train_embedded(settings: TrainingSettings, report: Report) -> bool:
    """Train and export the model set; return False if the time ran out first: call again to go on.

    report: receives a small dict per event, always with "stage"; the same lines go to work/train.jsonl.
    """
    device = choose_device(settings.device)
    started = time.monotonic()
    work, seed = settings.work, settings.seed
    work.mkdir(parents=True, exist_ok=True)
    line_width_px = int(MODEL_SET["pose_line_width_px"])

    def out_of_time() -> bool:
        return settings.minutes is not None and time.monotonic() - started > 60 * settings.minutes

    with (work / "train.jsonl").open("a") as log:
        report = _logged(report, log, started)
        render_shards(work / "renders", settings.views, settings.size_px, seed + 1, settings.processes, report)
        renders = read_shards(work / "renders", settings.views)
        vae = train_vae(renders, settings.vae, work, seed, device, out_of_time, report)
        if vae is None:
            return False
        latents = encode_renders(vae, renders, work / "latents.safetensors", device)
        segmenter = train_segmenter(renders, vae, settings.segmenter, work, seed, device, out_of_time, report)
        if segmenter is None:
            return False
        tokenizers = build_tokenizers()

        def export(denoiser: Denoiser) -> None:
            export_model_set(vae, denoiser, tokenizers, segmenter, settings.out)
            report({"stage": "export", "folder": str(settings.out)})

        denoiser = train_denoiser(
            latents, tokenizers, settings.denoiser, line_width_px, work, seed, device, out_of_time, export, report
        )
        return denoiser is not None


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is a GPU that knows bfloat16, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "cpu")


def _logged(report: Report, log: TextIO, started: float) -> Report:
    def both(event: dict) -> None:
        log.write(msgspec.json.encode(event | {"seconds": round(time.monotonic() - started, 1)}).decode() + "\n")
        log.flush()
        report(event)

    return both


def main() -> None:
    """Run from the command line: python -m beyondscene.backend.training.embedded --help."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for shards and checkpoints; resumes what it holds")
    parser.add_argument("--out", type=Path, required=True, help="model set folder to write")
    parser.add_argument("--minutes", type=float, default=None, help="stop with a checkpoint after this long")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=None, help="denoiser steps")
    parser.add_argument("--tiny", action="store_true", help="run through all stages at toy size")
    given = parser.parse_args()
    if given.tiny:
        settings = tiny_settings(given.work, given.out, given.minutes, given.device)
    else:
        settings = TrainingSettings(
            work=given.work, out=given.out, minutes=given.minutes, device=given.device, processes=os.cpu_count() or 1
        )
    if given.steps is not None:
        settings = msgspec.structs.replace(settings, denoiser=msgspec.structs.replace(settings.denoiser, steps=given.steps))
    finished = train_embedded(settings, lambda event: print(msgspec.json.encode(event).decode(), flush=True))
    raise SystemExit(0 if finished else 3)


if __name__ == "__main__":
    main()
