"""Train the denoiser: weighted velocity regression on crops of latents, small ones first."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from .binding import Binding
from .checkpoints import Ema, Steps, half_precision, set_rate, step_random
from .denoiser import Denoiser, DenoiserSizes, build_scheduler
from .latents import Batch, LatentSet, draw_batch, halve
from .replayed import Outputs, Replayed
from .rounding import Rounded, matrices
from .text import TextEncoders
from .under_way import Run

_STAGE = 3
_PACE = 20, 100  # it is told how long a step takes by those after the first, and again after as many as the second
_FITTED = 0.95  # of the time left, that so many steps shall fill: the last checkpoint and the export take some, too


class DenoiserSettings(msgspec.Struct, frozen=True):
    """How the denoiser is built and trained."""

    sizes: DenoiserSizes = DenoiserSizes()
    steps: int = 8000
    learning_rate: float = 1e-3
    text_share: float = 0.1  # of the learning rate, for the text encoders, which come trained; at 0 they are kept as they are
    binding: float = 0.1  # weight of whom people's cells attend to
    flat: float = 0.7  # share of the steps before the learning rate starts to fall
    small_cells: int = 16  # side of small samples, in latents; four times cheaper than views at full size
    small_batch: int = 24
    halved_share: float = 0.9  # of the small batches: whole views at half size, which teach captions and whole figures
    large_batch: int = 8  # views at full size per step
    large_from: float = 0.45  # share of a run from nothing before the first views at full size
    large_share: float = 0.85  # of the steps after that: views at full size
    ema_decay: float = 0.998
    loaders: int = 1  # processes that draw batches ahead


def train_denoiser(
    run: Run, data: LatentSet, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], text: TextEncoders,
    settings: DenoiserSettings, line_width_px: int, start: Path | None, milestone: Callable[[Denoiser], None],
    fit: bool = False,
) -> Denoiser:  # fmt: skip
    """Return the averaged model.

    text: trained text encoders, which learn on with the rest, slowly.
    start: a model set whose weights, text encoders included, are the initial values; None to begin with random ones.
    milestone: called with the averaged model at each checkpoint but that of the last step.
    fit: whether the run is as long as fits its time, told by its first steps, if `settings.steps` are more than that.
        Once it has come to that end it is finished; a call without goes on to `settings.steps`.
    """
    torch.manual_seed(run.seed)
    if start is not None:  # small views are for what it knows by now, and its text encoders with their words come trained
        settings = msgspec.structs.replace(settings, large_from=0.0, text_share=0.0)
    denoiser = begin(text, settings, start, run.device)
    optimizer = torch.optim.AdamW(
        group_parameters(denoiser, settings.text_share), betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    ema = Ema(denoiser, settings.ema_decay)
    averaged = copy.deepcopy(denoiser).eval()

    def average() -> Denoiser:
        ema.copy_to(averaged)
        return averaged

    left = Steps(run, "denoiser", denoiser, ema, optimizer, settings.steps, 500, lambda: milestone(average()), fit)
    alphas = build_scheduler().alphas_cumprod.to(run.device)
    of_steps = StepBatches(data, tokenizers, settings, line_width_px, run.seed)
    of_steps.fit(left.steps)
    pace, waited = Pace(), Waited(of_steps.load(left.done, run.device))
    learnt = [one for one in denoiser.parameters() if one.requires_grad]
    find_gradients = gradient_finder(denoiser, learnt, settings.binding)
    if run.device.type == "cuda" and not settings.text_share:
        find_gradients = Replayed(find_gradients, lambda event: run.report({"stage": "denoiser"} | event))
    for step, drawn in zip(left, waited, strict=False):
        if fit and pace.tick() and step < settings.flat * left.steps:
            left.fit(min(settings.steps, step + int(_FITTED * run.time_left_s() / pace.seconds_per_step)))
            of_steps.fit(left.steps)
            run.report({"stage": "denoiser", "steps": left.steps, "seconds_per_step": round(pace.seconds_per_step, 4)})
        batch, (_, noise) = drawn.to(run.device), step_random(run, _STAGE, step)
        set_rate(optimizer, settings.learning_rate, step, left.steps, warm_up=100, flat=settings.flat)
        with half_precision(run.device):
            states, pooled = denoiser.text(batch.tokens)
        alpha, epsilon = alphas[batch.timesteps], torch.randn(batch.latents.shape, generator=noise, device=run.device)
        loss, bound, *gradients = find_gradients(
            batch.latents, epsilon, alpha, batch.weights, batch.timesteps, states, pooled, batch.kept_text, batch.poses,
            batch.kept_pose, batch.sizes, batch.owners, batch.people, batch.several,
        )  # fmt: skip
        for parameter, gradient in zip(learnt, gradients, strict=True):
            parameter.grad = gradient
        left.descend()
        if (step + 1) % 10 == 0:
            cells = batch.latents.shape[-1]
            measured = {"loss": float(loss), "binding": float(bound), "left_out": left.left_out}
            measured["waited_s"] = round(waited.take_s(), 3)  # the GPU, for those who load; of ten steps
            run.report({"stage": "denoiser", "step": step + 1, "of": left.steps, "cells": cells} | measured)
    return average()


def begin(text: TextEncoders, settings: DenoiserSettings, start: Path | None, device: torch.device) -> Denoiser:
    """The denoiser as training finds it, with the weights of the model set `start` or, without one, random values."""
    denoiser = Denoiser(settings.sizes, text).to(device).train()
    if start is not None:
        denoiser.load(start)
    denoiser.text.requires_grad_(settings.text_share > 0)
    for net in (denoiser.unet, denoiser.controlnet):
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return denoiser


class Waited:
    """Gives what `batches` gives, and tells how long it let wait."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Batch]:
        began, drawn = time.monotonic(), iter(self.batches)
        while (batch := next(drawn, None)) is not None:
            self.seconds += time.monotonic() - began
            yield batch
            began = time.monotonic()

    def take_s(self) -> float:
        """Seconds since the last call."""
        taken, self.seconds = self.seconds, 0.0
        return taken


class Pace:
    """The mean time that a step takes, since the 20th of this process: the first ones are slow."""

    def __init__(self) -> None:
        self.step, self.began, self.seconds_per_step = 0, 0.0, 0.0

    def tick(self) -> bool:
        """Call before each step; True every 100 steps, when the pace is known anew."""
        self.step += 1
        if self.step == _PACE[0]:
            self.began = time.monotonic()
        known = self.step > _PACE[0] and (self.step - _PACE[0]) % _PACE[1] == 0
        if known:
            self.seconds_per_step = (time.monotonic() - self.began) / (self.step - _PACE[0])
        return known


def group_parameters(denoiser: Denoiser, text_share: float) -> list[dict]:
    """Return the optimizer's groups: the text encoders take `text_share` of the learning rate."""
    others = [*denoiser.unet.parameters(), *denoiser.controlnet.parameters()]
    return [{"params": others}, {"params": list(denoiser.text.parameters()), "share": text_share}]


class StepBatches(Dataset):
    """The batch of each step. It depends on seed, step and the run's length alone: a resumed run learns from the same."""

    def __init__(
        self,
        data: LatentSet,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        settings: DenoiserSettings,
        line_width_px: int,
        seed: int,
    ) -> None:
        self.data, self.tokenizers, self.settings = data, tokenizers, settings
        self.line_width_px, self.seed = line_width_px, seed
        self._steps = torch.tensor(settings.steps).share_memory_()  # with the processes that load

    def fit(self, steps: int) -> None:
        """Let the run be so long, for the batches that are not drawn yet."""
        self._steps.fill_(steps)

    def load(self, first: int, device: torch.device) -> Iterable[Batch]:
        """Those of step `first` and on, drawn ahead by other processes."""
        return DataLoader(
            self, batch_size=None, num_workers=self.settings.loaders, sampler=range(first, self.settings.steps),
            prefetch_factor=2, multiprocessing_context="fork", pin_memory=device.type == "cuda",
        )  # fmt: skip

    def __getitem__(self, step: int) -> Batch:
        settings, numbers = self.settings, np.random.default_rng([self.seed, _STAGE, step])
        large = numbers.random() < settings.large_share and step >= settings.large_from * int(self._steps)
        halved = not large and numbers.random() < settings.halved_share
        count = settings.large_batch if large else settings.small_batch
        cells = self.data.latents.shape[-1] if large or halved else settings.small_cells
        batch = draw_batch(self.data, self.tokenizers, numbers, count, cells, self.line_width_px)
        return halve(batch) if halved else batch


def gradient_finder(denoiser: Denoiser, learnt: list[nn.Parameter], binding_weight: float) -> Callable[..., Outputs]:
    """Return what finds the gradients of `learnt` from a batch's tensors.

    It returns the error of the velocity, the error of the binding, and the gradients. It waits for nothing, so that it can be
    recorded; it is not compiled: that passes over what binding hooks in.
    """
    rounded = Rounded(matrices(denoiser.unet, denoiser.controlnet))

    def find_gradients(
        clean: Tensor, epsilon: Tensor, alpha: Tensor, weights: Tensor, timesteps: Tensor, states: Tensor, pooled: Tensor,
        kept_text: Tensor, poses: Tensor, kept_pose: Tensor, sizes: Tensor, owners: Tensor, people: Tensor, rows: Tensor,
    ) -> Outputs:  # fmt: skip
        def predict(noisy: Tensor) -> Tensor:
            return denoiser(noisy, timesteps, states, pooled, kept_text, poses.float() / 255, kept_pose, sizes)

        with rounded:
            with half_precision(clean.device), Binding(denoiser.unet, owners, people, rows) as binding:
                loss = weigh_error(predict, clean, epsilon, alpha, weights)
            bound = binding.loss()
            gradients = torch.autograd.grad(loss + binding_weight * bound, learnt, materialize_grads=True)
        return loss.detach(), bound.detach(), *map(_laid_out_as, gradients, learnt)

    return find_gradients


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return the gradient in its parameter's strides, which fused optimizers take for granted."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def weigh_error(predict: Callable[[Tensor], Tensor], clean: Tensor, epsilon: Tensor, alpha: Tensor, weights: Tensor) -> Tensor:
    """Return the mean squared error of the velocity, heavier on people.

    predict: noisy latents (B, 4, h, w) to their velocity. alpha: (B,), the share of the signal's power. weights: (B, 1, h, w).
    """
    alpha = alpha[:, None, None, None]
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * epsilon
    target = alpha.sqrt() * epsilon - (1 - alpha).sqrt() * clean
    return (weights * (predict(noisy).float() - target).square()).mean()
