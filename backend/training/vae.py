"""Train the latent autoencoder: a plain regression, from initial values through which colours already pass."""

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from .checkpoints import Ema, Steps, half_precision, set_rate, step_random
from .highway import SlowRows, lay_highway, pool_colours, whitening
from .renders import Renders, regions_of
from .under_way import Run

_STAGE = 1
# Of the loss, by raster.REGIONS: people weigh more than the background; head, hair, arms and things, which are small, most.
_WEIGHTS = np.array((1, 3, 3, 2, 2, 3, 2, 2, 3), np.float32)


class VaeSettings(msgspec.Struct, frozen=True):
    """How the autoencoder is built and trained."""

    widths: tuple[int, ...] = (16, 32, 64, 96)  # channels per level; four levels make latents of 1/8 size
    steps: int = 4800
    learning_rate: float = 1.5e-3
    crop_px: int = 96  # side of the training crops
    crops: int = 4  # crops per step
    large_crop_px: int = 160  # the same for the last quarter of the steps
    large_crops: int = 2


def build_vae(widths: tuple[int, ...]) -> AutoencoderKL:
    """Return an AutoencoderKL with random values."""
    levels: dict[str, Any] = {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
    }
    return AutoencoderKL(
        **levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        force_upcast=False,
    )


def encode(vae: AutoencoderKL, pictures: Tensor) -> DiagonalGaussianDistribution:
    """Return the distribution of the latents (B, 4, H/8, W/8) of pictures (B, 3, H, W), -1..1."""
    return vae.encode(pictures, return_dict=False)[0]  # pyright: ignore[reportReturnType]


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Return the pictures (B, 3, H, W), about -1..1, of latents (B, 4, H/8, W/8)."""
    return vae.decode(latents, return_dict=False)[0]  # pyright: ignore[reportReturnType, reportArgumentType]


def load_vae(folder: Path, device: torch.device) -> AutoencoderKL:
    """Load that of the model set in `folder`, in single precision."""
    vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32)
    vae.register_to_config(_name_or_path="")  # else the export would tell where on this machine it came from
    return vae.to(device)  # pyright: ignore[reportArgumentType]


def train_vae(run: Run, renders: Renders, settings: VaeSettings, start: Path | None) -> AutoencoderKL:
    """Return the trained model, with unit-variance latents.

    start: a model set whose autoencoder is trained further; None to begin with the highway.
    """
    torch.manual_seed(run.seed)
    sample = to_tensor(renders.pictures[:48], torch.device("cpu"))
    if start is None:
        vae = build_vae(settings.widths)
        matrix, mean = (t.to(run.device) for t in lay_highway(vae, sample))
    else:
        vae = load_vae(start, torch.device("cpu"))
        matrix, mean = (t.to(run.device) for t in whitening(sample))
    vae.to(device=run.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    vae.train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    ema, slow = Ema(vae, 0.996), SlowRows(vae)
    left = Steps(run, "vae", vae, ema, optimizer, settings.steps, 1000)
    for step in left:
        large = step >= 0.75 * settings.steps
        side, count = (settings.large_crop_px, settings.large_crops) if large else (settings.crop_px, settings.crops)
        numbers, noise = step_random(run, _STAGE, step)
        pictures, weight = _draw_crops(renders, numbers, count, side, run.device)
        progress = step / settings.steps
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=100)
        with half_precision(run.device):
            losses = _losses(vae, pictures, weight, matrix, mean, noise, progress)
        losses["loss"].backward()
        left.descend(take=partial(slow.apply, optimizer, 0.1 + 0.3 * progress))
        if (step + 1) % 50 == 0:
            measured = {name: float(loss.detach()) for name, loss in losses.items()}
            run.report({"stage": "vae", "step": step + 1, "of": settings.steps} | measured)
    ema.copy_to(vae)
    vae.eval()
    standardise_latents(vae, to_tensor(renders.pictures[:256], run.device))
    return vae


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold a shift and scale into the quant convolutions, so that latents have mean 0 and variance 1."""
    latents = torch.cat([encode(vae, part).mean.float() for part in pictures.split(16)])
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    quant: Any = vae.quant_conv
    post: Any = vae.post_quant_conv
    quant.weight[:4] /= std[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) / std
    quant.bias[4:] -= 2 * std.log()
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]


def differences(residual: Tensor, weight: Tensor) -> Tensor:
    """The loss of a picture: its residual (B, 3, H, W), that of its gradients and its squares, weighed by (B, 1, H, W)."""
    gradients = sum((weight.narrow(axis, 1, weight.shape[axis] - 1) * residual.diff(dim=axis).abs()).mean() for axis in (2, 3))
    return (weight * residual.abs()).mean() + 0.5 * (gradients + (weight * residual.square()).mean())


def to_tensor(pictures: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return (B, H, W, 3) uint8 pictures as float (B, 3, H, W), -1..1, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _losses(
    vae: AutoencoderKL, pictures: Tensor, weight: Tensor, matrix: Tensor, mean: Tensor, noise: torch.Generator, progress: float
) -> dict[str, Tensor]:
    posterior = encode(vae, pictures)
    latents = posterior.mean.float()
    spread = torch.exp(0.5 * posterior.logvar.float())
    draw = torch.randn((2, *latents.shape), generator=noise, device=latents.device)
    restored = decode(vae, latents + spread * draw[0] + 0.05 * draw[1]).float()
    residual = restored - pictures
    pooled = pool_colours(residual).abs().mean()
    anchor_target = torch.einsum("ij,bjhw->bihw", matrix, pool_colours(pictures) - mean[:, None, None])
    anchor = (latents[:, :3] - anchor_target).square().mean()
    anchor_weight = max(0.3 * 0.5 ** (14 * progress), 0.01)
    detail = latents[:, 3]
    spread_loss = detail.mean().square() + (detail.std() - 1).square()
    kl = 0.5 * (latents.square() + spread.square() - 1 - 2 * spread.log()).mean()
    loss = differences(residual, weight) + 0.5 * pooled + anchor_weight * anchor + 0.01 * spread_loss + 1e-5 * kl
    return {
        "loss": loss,
        "l1": residual.detach().abs().mean(),
        "mse": residual.detach().square().mean(),
        "anchor": anchor.detach(),
    }


def _draw_crops(
    renders: Renders, numbers: np.random.Generator, count: int, side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return crops (count, 3, side, side) and pixels' weights (count, 1, side, side); most crops show people."""
    pictures, weights = [], []
    for index in numbers.integers(len(renders.pictures), size=count):
        mask = renders.masks[index] > 0
        height, width = mask.shape
        centre = numbers.integers((height, width))
        if numbers.random() < 0.7:
            for _ in range(12):
                candidate = numbers.integers((height, width))
                if mask[tuple(candidate)]:
                    centre = candidate
                    break
        top, left = np.clip(centre - side // 2, 0, (height - side, width - side))
        pictures.append(renders.pictures[index, top : top + side, left : left + side])
        weights.append(_WEIGHTS[regions_of(renders.masks[index, top : top + side, left : left + side])])
    return to_tensor(np.stack(pictures), device), torch.from_numpy(np.stack(weights)).to(device)[:, None]
