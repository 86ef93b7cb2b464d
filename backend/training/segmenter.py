"""Train the segmenter, which finds people and their parts in pictures, on renders and their reconstructions."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from .checkpoints import Ema, learn, load_loop, save_loop, set_rate, step_random
from .renderer.raster import REGIONS
from .renders import Renders, regions_of
from .vae import decode, encode, to_tensor

_STAGE = 2
# The usual normalisation of Segformer: what any program that runs one expects.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSOR = {
    "image_processor_type": "SegformerImageProcessor", "do_resize": False, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": list(_MEAN), "image_std": list(_STD),
}  # fmt: skip


class SegmenterSettings(msgspec.Struct, frozen=True):
    """How the segmenter is built and trained."""

    widths: tuple[int, int, int, int] = (24, 40, 64, 96)  # channels per level
    steps: int = 2000
    learning_rate: float = 2e-3
    batch: int = 6
    crop_px: int = 192
    restored_share: float = 0.4  # share of batches that went through the autoencoder


def build_segmenter(widths: tuple[int, int, int, int]) -> SegformerForSemanticSegmentation:
    """Return a small Segformer with random values, one class per region."""
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=list(widths),
        num_attention_heads=[1, 1, 2, 3],
        sr_ratios=[8, 4, 2, 1],
        mlp_ratios=[3, 3, 3, 3],
        decoder_hidden_size=64,
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
        id2label=dict(enumerate(REGIONS)),
        label2id={name: number for number, name in enumerate(REGIONS)},
    )
    return SegformerForSemanticSegmentation(config)


def normalise(pictures: Tensor) -> Tensor:
    """Turn pictures (B, 3, H, W), -1..1, into the segmenter's input."""
    mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (_MEAN, _STD))
    return ((pictures + 1) / 2 - mean) / std


@torch.no_grad()
def segment(segmenter: SegformerForSemanticSegmentation, pictures: Tensor) -> npt.NDArray[np.uint8]:
    """Return the region (B, H, W) of every pixel of pictures (B, 3, H, W), -1..1."""
    logits = segmenter(normalise(pictures)).logits
    full = F.interpolate(logits.float(), size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    return full.argmax(dim=1).cpu().numpy().astype(np.uint8)


def train_segmenter(
    renders: Renders,
    vae: AutoencoderKL,
    settings: SegmenterSettings,
    folder: Path,
    seed: int,
    device: torch.device,
    out_of_time: Callable[[], bool],
    report: Callable[[dict], None],
) -> SegformerForSemanticSegmentation | None:
    """Train with checkpoints under `folder`; return the averaged model, None if out of time."""
    torch.manual_seed(seed)
    segmenter = build_segmenter(settings.widths).to(device).train()  # pyright: ignore[reportArgumentType]
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    ema = Ema(segmenter, 0.99)
    path = folder / "segmenter.safetensors"
    step = load_loop(path, segmenter, ema, optimizer)
    class_weights = torch.tensor([1.0, 1.5, 2.0, 1.2, 1.2, 2.0, 2.0, 2.0, 2.0], device=device)  # one per region
    while step < settings.steps:
        numbers, noise = step_random(seed, _STAGE, step, device)
        pictures, regions = _draw_crops(renders, numbers, settings, device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            pictures = _degrade(pictures, vae, settings, numbers, noise)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=50)
        logits = segmenter(normalise(pictures)).logits
        full = F.interpolate(logits, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(full, regions, class_weights)
        learn(loss, segmenter, optimizer, ema, step)
        step += 1
        if step % 20 == 0:
            report({"stage": "segmenter", "step": step, "of": settings.steps, "loss": float(loss.detach())})
        stop = out_of_time()
        if step % 500 == 0 or stop or step == settings.steps:
            save_loop(path, step, segmenter, ema, optimizer)
        if stop and step < settings.steps:
            return None
    ema.copy_to(segmenter)
    # The decoder head holds batch statistics, which have no mean of their own to copy.
    return segmenter.eval()


def _degrade(
    pictures: Tensor, vae: AutoencoderKL, settings: SegmenterSettings, numbers: np.random.Generator, noise: torch.Generator
) -> Tensor:
    """Make renders resemble generated pictures: latent noise, changed contrast, pixel noise."""
    if numbers.random() < settings.restored_share:
        latents = encode(vae, pictures).mean.float()
        latents = latents + 0.25 * numbers.random() * torch.randn(latents.shape, generator=noise, device=latents.device)
        pictures = decode(vae, latents).float()
    grain = torch.randn(pictures.shape, generator=noise, device=pictures.device)
    contrast, brightness = numbers.uniform(0.8, 1.2), numbers.normal(0, 0.06)
    return (pictures * contrast + brightness + 0.04 * numbers.random() * grain).clamp(-1, 1)


def _draw_crops(
    renders: Renders, numbers: np.random.Generator, settings: SegmenterSettings, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return random crops (B, 3, side, side), -1..1, some of them mirrored, and their regions."""
    side, (height, width) = settings.crop_px, renders.masks.shape[1:]
    pictures, regions = [], []
    for index in numbers.integers(len(renders.pictures), size=settings.batch):
        top, left = numbers.integers(height - side + 1), numbers.integers(width - side + 1)
        window = (index, slice(top, top + side), slice(left, left + side))
        flip = slice(None, None, -1 if numbers.random() < 0.5 else 1)
        pictures.append(renders.pictures[window][:, flip])
        regions.append(regions_of(renders.masks[window][:, flip]))
    return to_tensor(np.stack(pictures), device), torch.from_numpy(np.stack(regions).astype(np.int64)).to(device)
