"""Train the ControlNet alone further: bodies follow poses better, and everything else stays what it is."""

import copy
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from .checkpoints import Ema, Steps, learn, set_rate, step_random
from .denoiser import Denoiser, build_scheduler
from .diffusion import velocity_loss
from .latents import Batch, LatentSet, Mix, draw_batch

_STAGE = 7


class ControlNetSettings(msgspec.Struct, frozen=True):
    """How the ControlNet is trained further: on views at full size, all with their pose and most with their text."""

    steps: int = 2500
    learning_rate: float = 5e-4
    flat: float = 0.4  # share of the steps before the learning rate starts to fall
    batch: int = 8
    mix: Mix = Mix(long=0.1, singles=0.55, no_words=0.02, no_text=0.03, no_pose=0.0, no_empty_pose=0.0, noisy=0.4)
    ground: float = 0.3  # weight of the background in the loss, where people's is 2.8 to 4.3
    ema_decay: float = 0.998
    loaders: int = 1  # processes that draw batches ahead


def train_controlnet(
    data: LatentSet, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], denoiser: Denoiser, settings: ControlNetSettings,
    line_width_px: int, folder: Path, seed: int, device: torch.device, out_of_time: Callable[[], bool],
    milestone: Callable[[Denoiser], None], report: Callable[[dict], None],
) -> bool:  # fmt: skip
    """Train the ControlNet of `denoiser` with checkpoints under `folder`; False if out of time.

    milestone: called with a denoiser that has the averaged ControlNet, with each checkpoint and at the end.
    """
    torch.manual_seed(seed)
    denoiser.to(device).eval().requires_grad_(False)
    for net in (denoiser.unet, denoiser.controlnet):
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    controlnet = denoiser.controlnet.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(controlnet.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    ema = Ema(controlnet, settings.ema_decay)

    def pass_on() -> None:
        averaged = copy.deepcopy(denoiser).eval()
        ema.copy_to(averaged.controlnet)
        milestone(averaged)

    left = Steps(folder / "controlnet.safetensors", controlnet, ema, optimizer, settings.steps, 500, out_of_time, pass_on)
    alphas = build_scheduler().alphas_cumprod.to(device)
    batches = DataLoader(
        PosedBatches(data, tokenizers, settings, line_width_px, seed),
        batch_size=None, sampler=range(left.done, settings.steps), num_workers=settings.loaders, prefetch_factor=4,
        multiprocessing_context="fork", pin_memory=device.type == "cuda",
    )  # fmt: skip
    for step, drawn in zip(left, batches, strict=False):
        batch, (_, noise) = drawn.to(device), step_random(seed, _STAGE, step, device)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=100, flat=settings.flat)
        with torch.autocast(device.type, torch.bfloat16):
            loss = velocity_loss(denoiser, batch, alphas, noise)
        learn(loss, controlnet, optimizer, ema, step)
        if (step + 1) % 10 == 0:
            report({"stage": "controlnet", "step": step + 1, "of": settings.steps, "loss": float(loss.detach())})
    if left.finished:
        pass_on()
    return left.finished


class PosedBatches(Dataset):
    """The batch of each step, which depends on the seed and the step alone, so that a resumed run learns from the same."""

    def __init__(
        self, data: LatentSet, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], settings: ControlNetSettings,
        line_width_px: int, seed: int,
    ) -> None:  # fmt: skip
        self.data, self.tokenizers, self.settings = data, tokenizers, settings
        self.line_width_px, self.seed = line_width_px, seed

    def __getitem__(self, step: int) -> Batch:
        settings, numbers = self.settings, np.random.default_rng([self.seed, _STAGE, step])
        cells = self.data.latents.shape[-1]
        batch = draw_batch(self.data, self.tokenizers, numbers, settings.batch, cells, self.line_width_px, settings.mix)
        return msgspec.structs.replace(batch, weights=batch.weights - 1 + settings.ground)
