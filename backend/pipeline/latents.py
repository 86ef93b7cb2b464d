"""Pictures to latents and back, in overlapping tiles of the training resolution."""

from collections.abc import Callable

import numpy as np
import torch

from ..models.load import Models
from .views import fade, positions

OVERLAP = 0.25  # of a tile; the seam fades over it


@torch.inference_mode()
def encode_image(models: Models, image: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) to float32 (4, H/8, W/8), scaled by the VAE's factor: the mean of the posterior."""
    pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1
    factor = models.latent_downsampling

    def encode(tile: torch.Tensor) -> torch.Tensor:
        (posterior,) = models.vae.encode(tile[None].to(models.device), return_dict=False)
        return posterior.mode()[0].float().cpu()

    window = models.training_resolution_px
    shift = models.vae.config.get("shift_factor") or 0.0
    latents = tiled(encode, pixels, window, factor, shrink=True)
    return ((latents - shift) * models.vae.config["scaling_factor"]).to(models.device)


@torch.inference_mode()
def decode_latents(models: Models, latents: torch.Tensor) -> np.ndarray:
    """float (4, h, w) to uint8 (8h, 8w, 3)."""
    factor = models.latent_downsampling

    def decode(tile: torch.Tensor) -> torch.Tensor:
        (pixels,) = models.vae.decode(tile[None].to(models.device), return_dict=False)  # type: ignore[arg-type]
        return pixels[0].float().cpu()

    shift = models.vae.config.get("shift_factor") or 0.0
    scaled = latents.float().cpu() / models.vae.config["scaling_factor"] + shift
    pixels = tiled(decode, scaled, models.training_resolution_px // factor, factor, shrink=False)
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def tiled(
    network: Callable[[torch.Tensor], torch.Tensor], field: torch.Tensor, window: int, factor: int, *, shrink: bool
) -> torch.Tensor:
    """Run `network` (C, h, w) -> (C', h', w') on windows of `field` (C, H, W) and fade the results into each other.

    shrink: the network divides sides by `factor`; else it multiplies them.
    """
    height, width = field.shape[-2:]
    stride = max(factor, round(window * (1 - OVERLAP)) // factor * factor) if shrink else max(1, round(window * (1 - OVERLAP)))

    def out(length: int) -> int:
        return length // factor if shrink else length * factor

    weight = torch.from_numpy(fade(out(window), OVERLAP))
    total: torch.Tensor | None = None
    norm = torch.zeros(out(height), out(width))
    for top in positions(height, window, stride):
        for left in positions(width, window, stride):
            tile = network(field[:, top : top + window, left : left + window])
            total = torch.zeros(tile.shape[0], out(height), out(width)) if total is None else total
            rows, columns = slice(out(top), out(top + window)), slice(out(left), out(left + window))
            total[:, rows, columns] += tile * weight
            norm[rows, columns] += weight
    assert total is not None
    return total / norm
