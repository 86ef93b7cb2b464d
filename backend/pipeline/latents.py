"""Pictures to latents and back, at any size: `vae_tiles` says how."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...protocol import Refusal
from ..hardware import name_precision
from ..models.host_memory import give_back_freed_memory
from ..models.load import Models
from ..watch import PixelType
from .vae_steps import decoder_steps, encoder_steps
from .vae_tiles import Tile, allowed_bytes, choose_window, run_tiled


@torch.inference_mode()
def encode_image(models: Models, image: np.ndarray, on_progress: Callable[[float], None] = lambda share: None) -> Tensor:
    """uint8 (H, W, 3) to float32 (C, H/f, W/f), scaled by the VAE's factor: the mean of the posterior.

    C: channels of the VAE's latents. f: pixels per latent along a side, by which H and W are divisible.
    on_progress: called now and then with the share that is done, 0 to 1.
    """
    factor, (height, width) = models.latent_downsampling, image.shape[:2]
    channels = models.vae.config["latent_channels"]

    def read(tile: Tile) -> Tensor:
        part = image[slice(*tile.seen_rows), slice(*tile.seen_columns)]
        pixels = torch.from_numpy(part).permute(2, 0, 1).to(models.device).float() / 127.5 - 1
        return pixels.to(models.vae.dtype)

    latents = torch.empty(channels, height // factor, width // factor)
    models.placement.bring(models.vae)
    steps = encoder_steps(models.vae, height * width // factor**2)
    window, held_bytes = tile_limits(models)
    limits = {"window": window * factor, "held_bytes": held_bytes}
    for tile, moments in run_tiled(steps, read, height, width, **limits, check=models.check, on_progress=on_progress):
        (top, bottom), (left, right) = tile.rows, tile.columns
        latents[:, top // factor : bottom // factor, left // factor : right // factor] = moments[:channels].cpu()
    give_back_freed_memory()
    shift = models.vae.config.get("shift_factor") or 0.0
    return ((latents - shift) * models.vae.config["scaling_factor"]).to(models.device)


@torch.inference_mode()
def decode_latents(
    models: Models, latents: Tensor, on_progress: Callable[[float], None] = lambda share: None, dtype: PixelType = np.uint8
) -> np.ndarray:
    """float (C, h, w) to `dtype` (f * h, f * w, 3), whose largest number is white. C, f, on_progress: as of `encode_image`.

    Raises Refusal where the networks made NaN or infinity, which else would be black.
    """
    factor, (height, width) = models.latent_downsampling, latents.shape[-2:]
    shift = models.vae.config.get("shift_factor") or 0.0
    scaled = latents.float() / models.vae.config["scaling_factor"] + shift

    def read(tile: Tile) -> Tensor:
        return scaled[:, slice(*tile.seen_rows), slice(*tile.seen_columns)].to(models.vae.dtype)

    image = np.empty((height * factor, width * factor, 3), dtype)
    white, copied = np.iinfo(dtype).max, torch.uint8 if dtype is np.uint8 else torch.int32  # not each device has uint16
    models.placement.bring(models.vae)
    steps = decoder_steps(models.vae, height * width)
    window, held_bytes = tile_limits(models)
    limits = {"window": window, "held_bytes": held_bytes}
    for tile, pixels in run_tiled(steps, read, height, width, **limits, check=models.check, on_progress=on_progress):
        (top, bottom), (left, right) = tile.rows, tile.columns
        if not pixels.isfinite().all():
            more = "" if models.dtype == torch.float32 else "pass --precision float32, or, where that changes nothing, "
            raise Refusal(
                f"The networks made NaN, not a picture, in {name_precision(models.dtype)}: {more}leave out LoRAs and "
                "embeddings, and fetch the model set anew."
            )
        whole_numbers = ((pixels.float() / 2 + 0.5).clamp(0, 1) * white).round().to(copied)
        part = whole_numbers.permute(1, 2, 0).cpu()  # bytes, not floats, are copied
        image[top * factor : bottom * factor, left * factor : right * factor] = part.numpy()
    give_back_freed_memory()
    return image


def tile_limits(models: Models) -> tuple[int, int]:
    """Side of a tile with its margins, in latents, and what waiting tiles may hold, in bytes."""
    device, vae, saving = models.device, models.vae, models.memory_saving
    window = saving.vae_window_latents or choose_window(device, vae, models.placement.resident_bytes(vae), saving.share)
    return window, saving.vae_held_bytes or allowed_bytes(device, vae, window, saving.share)
