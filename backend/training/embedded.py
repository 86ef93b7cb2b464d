"""Train the embedded model: render, train the autoencoder, encode, train segmenter, text encoders and denoiser, export."""

import time
from pathlib import Path
from typing import Literal, TextIO

import msgspec
import torch

from ..machine import core_count
from ..models.host_memory import reuse_freed_memory
from .decoder import DecoderSettings, train_decoder
from .denoiser import Denoiser, DenoiserSizes, load_denoiser
from .diffusion import DenoiserSettings, train_denoiser
from .export import MODEL_SET, export_model_set
from .latents import encode_renders
from .renders import read_shards, render_shards
from .runs import EmbeddedRun, RenderRun, RunError, alone_in, check_numbers, claim, digest_model_set
from .segmenter import SegmenterSettings, load_segmenter, train_segmenter
from .text import TextEncoders, TextSettings, train_text
from .tokenizer import build_tokenizers, read_tokenizers
from .under_way import OutOfTime, Report, Run, countdown
from .vae import VaeSettings, load_vae, train_vae

Part = Literal["vae", "decoder", "segmenter", "denoiser"]


class TrainingSettings(msgspec.Struct, frozen=True):
    """The whole run. The same settings draw the same numbers, resumed or not.

    The weights then agree but for rounding, since kernels add up in no fixed order: on a CPU two short runs stay within 3e-4 of
    each other. A folder that a run was begun in is refused to another run.
    """

    work: Path  # shards, checkpoints and train.jsonl: about 0.3 GB for 1000 views
    out: Path  # the model set folder to write
    device: torch.device
    seed: int = 0
    views: int = 18000  # renders to train on
    size_px: int = 256
    processes: int = 2  # that render
    start: Path | None = None  # a model set to go on from
    further: frozenset[Part] = frozenset({"denoiser"})  # what of `start` is trained further; the rest of it is kept
    minutes: float | None = None  # stop with a checkpoint after this long; the next call goes on from there
    render_only: bool = False  # stop when the views are rendered, which takes no GPU
    fit: bool = False  # rather train the denoiser no longer than fits `minutes`, its learning rate falling within them
    vae: VaeSettings = VaeSettings()
    decoder: DecoderSettings = DecoderSettings()
    segmenter: SegmenterSettings = SegmenterSettings()
    text: TextSettings = TextSettings()
    denoiser: DenoiserSettings = DenoiserSettings()

    def kept(self, part: Part) -> Path | None:
        """The model set that `part` is taken from as it is; None where it is trained."""
        return None if part in self.further else self.start


def usual_settings(work: Path, out: Path, device: torch.device) -> TrainingSettings:
    """Return the settings for `device`: on a GPU, larger batches, more views and several processes that draw them."""
    processes = core_count()
    if device.type != "cuda":
        return TrainingSettings(work=work, out=out, device=device, processes=processes)
    return TrainingSettings(
        work=work, out=out, device=device, processes=processes, views=60000,
        vae=VaeSettings(steps=9000, crops=24, large_crops=12),
        segmenter=SegmenterSettings(steps=3000, batch=24),
        denoiser=DenoiserSettings(small_batch=384, large_batch=256, loaders=max(1, processes - 2)),
        decoder=DecoderSettings(crops=24, large_crops=6),
    )  # fmt: skip


def tiny_settings(work: Path, out: Path, device: torch.device) -> TrainingSettings:
    """Return settings that run through all stages in under a minute on 2 CPU cores; the weights are of no use."""
    return TrainingSettings(
        work=work, out=out, device=device, views=64, size_px=128,
        vae=VaeSettings(widths=(16, 16, 16, 16), steps=8, crop_px=64, large_crop_px=96),
        segmenter=SegmenterSettings(widths=(8, 16, 16, 16), steps=6, batch=2, crop_px=96),
        text=TextSettings(widths=(32, 32), layers=(2, 2), steps=6, batch=4),
        denoiser=DenoiserSettings(
            sizes=DenoiserSizes(widths=(32, 32, 32), pose_widths=(8, 8, 8, 8)),
            steps=8, small_cells=8, small_batch=2, large_batch=1,
        ),
        decoder=DecoderSettings(steps=6, crop_cells=6, crops=2, large_crop_cells=8),
    )  # fmt: skip


def train_embedded(settings: TrainingSettings, report: Report) -> None:
    """Train and export the model set.

    report: receives a small dict per event, always with "stage"; the same lines go to work/train.jsonl. Raises OutOfTime, also
    where no more than renders was asked for; RunError where `settings.work` is another run's or in use, or as `check_settings`;
    ModelSetError where `settings.start` is no embedded model.
    """
    started, time_left_s = time.monotonic(), countdown(settings.minutes)
    check_settings(settings)
    described = describe_run(settings)
    if settings.start:  # now, not after hours of rendering
        load_denoiser(settings.start, settings.denoiser.sizes, settings.text)
    claim(settings.work / "renders", RenderRun(seed=settings.seed, size_px=settings.size_px))
    if not settings.render_only:  # renders go with any device
        claim(settings.work, described)
    reuse_freed_memory(settings.device)
    claimed = settings.work / "renders" if settings.render_only else settings.work
    with alone_in(claimed), (settings.work / "train.jsonl").open("a", encoding="utf-8") as log:
        run = Run(settings.work, settings.seed, settings.device, _logged(report, log, started), time_left_s)
        train_parts(run, settings)


def check_settings(settings: TrainingSettings) -> None:
    """Raise RunError for what contradicts itself, or means nothing."""
    if {"vae", "decoder"} <= settings.further:
        raise RunError("--further vae trains the decoder with the rest: leave out one of the two.")
    if settings.fit and settings.minutes is None and not settings.render_only:
        raise RunError("--fit fits the training to --minutes: say how many.")
    out, work = settings.out.resolve(), settings.work.resolve()
    if out in (work, *work.parents):
        raise RunError(
            f"--work {settings.work} lies in --out {settings.out}, which is replaced as a whole: name one outside it."
        )
    if settings.start and out == settings.start.resolve():
        raise RunError(f"--out {settings.out} is --start, whose weights a call that goes on still needs: name another folder.")
    check_numbers(seed=settings.seed, views=settings.views)
    for part in settings.further:
        check_numbers(steps=getattr(settings, part).steps)


def train_parts(run: Run, settings: TrainingSettings) -> None:
    """Take every part from where it is kept, or train it, and export them together. Raises OutOfTime."""
    views, start = run.folder / "renders", settings.start
    render_shards(run, views, settings.views, settings.size_px, settings.processes)
    if settings.render_only:
        raise OutOfTime
    renders = read_shards(views, settings.views)
    run.report({"stage": "read", "views": settings.views})
    kept = settings.kept("vae")
    vae = load_vae(kept, run.device) if kept else train_vae(run, renders, settings.vae, start)
    latents = encode_renders(vae, renders, run.folder / "latents.safetensors", run.device)
    run.report({"stage": "encode", "views": settings.views})
    if start and "decoder" in settings.further:
        vae = train_decoder(run, latents, vae, settings.decoder)
    kept = settings.kept("segmenter")
    segmenter = load_segmenter(kept, run.device) if kept else train_segmenter(run, latents, vae, settings.segmenter, start)
    # Weights know words by the numbers of their own tokenizers.
    tokenizers = read_tokenizers(start) if start else build_tokenizers()
    # The text encoders' own weights come with the denoiser's.
    text = TextEncoders(settings.text, tokenizers[0]) if start else train_text(run, tokenizers, settings.text)

    def export(denoiser: Denoiser) -> None:
        export_model_set(vae, denoiser, tokenizers, segmenter, settings.out)
        run.report({"stage": "export", "folder": str(settings.out)})

    if kept := settings.kept("denoiser"):
        denoiser = load_denoiser(kept, settings.denoiser.sizes, settings.text)
    else:
        width_px = MODEL_SET.pose_line_width_px
        denoiser = train_denoiser(run, latents, tokenizers, text, settings.denoiser, width_px, start, export, settings.fit)
    export(denoiser)


def describe_run(settings: TrainingSettings) -> EmbeddedRun:
    """What another call must have in common to go on with this one's checkpoints."""
    return EmbeddedRun(
        seed=settings.seed,
        views=settings.views,
        size_px=settings.size_px,
        device=settings.device.type,
        start=digest_model_set(settings.start) if settings.start else None,
        further=tuple(sorted(settings.further)) if settings.start else (),
        sizes={
            "vae": settings.vae.widths,
            "segmenter": settings.segmenter.widths,
            "text": (*settings.text.widths, *settings.text.layers),
            "denoiser": msgspec.to_builtins(settings.denoiser.sizes),
        },
        batches={
            "vae": (settings.vae.crops, settings.vae.large_crops),
            "decoder": (settings.decoder.crops, settings.decoder.large_crops),
            "segmenter": settings.segmenter.batch,
            "text": settings.text.batch,
            "denoiser": (settings.denoiser.small_batch, settings.denoiser.large_batch),
        },
    )


def _logged(report: Report, log: TextIO, started: float) -> Report:
    def both(event: dict) -> None:
        log.write(msgspec.json.encode(event | {"seconds": round(time.monotonic() - started, 1)}).decode() + "\n")
        log.flush()
        report(event)

    return both
