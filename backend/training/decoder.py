"""Train the autoencoder's decoder alone further: latents stay what they are, so the denoiser need not learn anew."""

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..mannequins.raster import ARMS, HAIR, HEAD, THINGS
from .checkpoints import Ema, Steps, half_precision, set_rate, step_random
from .highway import pool_colours
from .latents import CELL_PX, LatentSet
from .renders import regions_of
from .under_way import Run
from .vae import decode, differences, to_tensor

_STAGE = 6
_WEIGHTS = np.array((1, 5, 5, 2, 2, 5, 3, 4, 3), np.float32)  # of the loss, by raster.REGIONS
_SMALL = (HEAD, HAIR, ARMS, THINGS)  # what most crops are aimed at


class DecoderSettings(msgspec.Struct, frozen=True):
    """How the decoder is trained further."""

    steps: int = 8000
    learning_rate: float = 6e-4
    crop_cells: int = 12  # side of the training crops, in latents
    crops: int = 4  # crops per step
    large_crop_cells: int = 24  # the same for the last two fifths of the steps
    large_crops: int = 1
    most_noise: float = 0.15  # deviation of what is added to latents: a denoiser's are never quite right
    ema_decay: float = 0.998


def train_decoder(run: Run, data: LatentSet, vae: AutoencoderKL, settings: DecoderSettings) -> AutoencoderKL:
    """Return `vae` with its decoder trained. data: what its encoder made of renders."""
    decoder = vae.decoder.train()
    decoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    vae.requires_grad_(False)
    decoder.requires_grad_(True)
    optimizer = torch.optim.AdamW(decoder.parameters(), betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    ema = Ema(decoder, settings.ema_decay)
    left = Steps(run, "decoder", decoder, ema, optimizer, settings.steps, 500)
    for step in left:
        numbers, noise = step_random(run, _STAGE, step)
        large = step >= 0.6 * settings.steps
        side, count = (settings.large_crop_cells, settings.large_crops) if large else (settings.crop_cells, settings.crops)
        latents, pictures, weights = draw_crops(data, numbers, count, side, run.device)
        spread = settings.most_noise * torch.rand((count, 1, 1, 1), generator=noise, device=run.device)
        latents += spread * torch.randn(latents.shape, generator=noise, device=run.device)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=100)
        with half_precision(run.device):
            restored = decode(vae, latents).float()
        residual = restored - pictures
        loss = differences(residual, weights) + 0.5 * (pool_colours(weights) * pool_colours(residual).abs()).mean()
        left.learn(loss)
        if (step + 1) % 50 == 0:
            mse = float(residual.detach().square().mean())
            run.report({"stage": "decoder", "step": step + 1, "of": settings.steps, "loss": float(loss.detach()), "mse": mse})
    ema.copy_to(decoder)
    vae.requires_grad_(True)
    return vae.eval()


def draw_crops(
    data: LatentSet, numbers: np.random.Generator, count: int, side: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return latents (count, 4, side, side), pictures (count, 3, 8 side, 8 side), -1..1, and weights of their pixels.

    Half of the crops are aimed at heads, hair, arms or things, a quarter at anybody. Pixels at a crop's rim, where the decoder
    misses what is beyond it, weigh nothing, but at the rim of the view, where there is nothing beyond, as much as any.
    """
    renders, cells = data.renders, data.latents.shape[-1]
    latents, pictures, weights = [], [], []
    for index in numbers.integers(len(data.latents), size=count):
        regions, aim = regions_of(renders.masks[index]), numbers.random()
        shown = np.flatnonzero(np.isin(regions, _SMALL) if aim < 0.5 else regions)
        aimed = aim < 0.75 and len(shown)
        target = int(numbers.choice(shown) if aimed else numbers.integers(regions.size))
        centre = np.array(np.divmod(target, regions.shape[1])) // CELL_PX + numbers.integers(-side // 4, side // 4 + 1, 2)
        top, left = np.clip(centre - side // 2, 0, cells - side)
        window = (slice(CELL_PX * top, CELL_PX * (top + side)), slice(CELL_PX * left, CELL_PX * (left + side)))
        latents.append(data.latents[index, :, top : top + side, left : left + side])
        pictures.append(renders.pictures[index][window])
        weights.append(_WEIGHTS[regions[window]] * _inner(window, regions.shape))
    return (
        torch.from_numpy(np.stack(latents)).to(device).float(),
        to_tensor(np.stack(pictures), device),
        torch.from_numpy(np.stack(weights)).to(device)[:, None],
    )


def _inner(window: tuple[slice, slice], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """1, but 0 in the cells at those sides of a window at which a view of `shape` goes on."""
    inside = []
    for part, size in zip(window, shape, strict=True):
        line = np.ones(part.stop - part.start, np.float32)
        line[:CELL_PX] = part.start == 0
        line[-CELL_PX:] = part.stop == size
        inside.append(line)
    return inside[0][:, None] * inside[1]
