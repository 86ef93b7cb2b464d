"""Train the segmenter, which finds people and their parts in pictures, on renders and what the autoencoder makes of them."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

from ..mannequins.raster import REGIONS
from .checkpoints import Ema, Steps, half_precision, set_rate, step_random
from .latents import CELL_PX, LatentSet
from .renders import regions_of
from .under_way import Run
from .vae import decode, to_tensor

_STAGE = 2
# The usual normalisation of such networks: what any program that runs one expects.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Pictures are enlarged first: the finest features are a quarter as large as what the network sees, an arm is six pixels wide.
_ENLARGED = 2
PREPROCESSOR = {
    "image_processor_type": "SegformerImageProcessor", "do_rescale": True, "rescale_factor": 1 / 255,
    "do_resize": True, "size": dict.fromkeys(("height", "width"), _ENLARGED * 256), "resample": 2,  # bilinear
    "do_normalize": True, "image_mean": list(_MEAN), "image_std": list(_STD),
}  # fmt: skip


class SegmenterSettings(msgspec.Struct, frozen=True):
    """How the segmenter is built and trained."""

    widths: tuple[int, int, int, int] = (24, 48, 72, 96)  # channels per level, from 1/4 of the size to 1/32
    steps: int = 6000
    learning_rate: float = 2e-3
    batch: int = 8
    crop_px: int = 192
    restored_share: float = 0.5  # share of batches that come from latents through the decoder


def build_segmenter(widths: tuple[int, int, int, int]) -> UperNetForSemanticSegmentation:
    """Return a small UPerNet on a ResNet with random values, one class per region.

    A small Segformer did not learn hair, arms or things in 2000 steps: convolutions need fewer samples.
    """
    backbone = ResNetConfig(
        embedding_size=widths[0], hidden_sizes=list(widths), depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],  # pyright: ignore[reportCallIssue]
    )  # fmt: skip
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=2 * widths[0],
        use_auxiliary_head=False,
        id2label=dict(enumerate(REGIONS)),
        label2id={name: number for number, name in enumerate(REGIONS)},
    )
    return UperNetForSemanticSegmentation(config)


def load_segmenter(folder: Path, device: torch.device) -> UperNetForSemanticSegmentation:
    """Load that of the model set in `folder`, in single precision."""
    segmenter = UperNetForSemanticSegmentation.from_pretrained(folder / "segmenter", dtype=torch.float32).eval()
    return segmenter.to(device)  # pyright: ignore[reportArgumentType]


def classify(segmenter: UperNetForSemanticSegmentation, pictures: Tensor) -> Tensor:
    """Return the logits (B, regions, H, W), float32, of pictures (B, 3, H, W), -1..1."""
    mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (_MEAN, _STD))
    enlarged = F.interpolate(((pictures + 1) / 2 - mean) / std, scale_factor=_ENLARGED, mode="bilinear")
    return F.interpolate(segmenter(enlarged).logits.float(), pictures.shape[-2:], mode="bilinear")


@torch.no_grad()
def segment(segmenter: UperNetForSemanticSegmentation, pictures: Tensor) -> npt.NDArray[np.uint8]:
    """Return the region (B, H, W) of every pixel of pictures (B, 3, H, W), -1..1."""
    return classify(segmenter, pictures).argmax(dim=1).cpu().numpy().astype(np.uint8)


def train_segmenter(
    run: Run, data: LatentSet, vae: AutoencoderKL, settings: SegmenterSettings, start: Path | None
) -> UperNetForSemanticSegmentation:
    """Return the averaged model.

    start: a model set whose segmenter is trained further; None to begin with random values.
    """
    torch.manual_seed(run.seed)
    segmenter = load_segmenter(start, run.device) if start else build_segmenter(settings.widths)
    segmenter.to(run.device).train()  # pyright: ignore[reportArgumentType]
    segmenter.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(segmenter.parameters(), weight_decay=0.01, fused=True)
    ema = Ema(segmenter, 0.99)
    left = Steps(run, "segmenter", segmenter, ema, optimizer, settings.steps, 500)
    for step in left:
        numbers, noise = step_random(run, _STAGE, step)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=50)
        with half_precision(run.device):
            with torch.no_grad():
                pictures, regions = _draw_crops(data, vae, settings, numbers, noise, run.device)
            logits = classify(segmenter, pictures)
        loss = F.cross_entropy(logits, regions) + 0.5 * _dice_loss(logits, regions)
        left.learn(loss)
        if (step + 1) % 20 == 0:
            run.report({"stage": "segmenter", "step": step + 1, "of": settings.steps, "loss": float(loss.detach())})
    ema.copy_to(segmenter)
    # The batch statistics have no mean of their own to copy; their momentum is one.
    return segmenter.eval()


def _dice_loss(logits: Tensor, regions: Tensor) -> Tensor:
    """One minus the mean overlap of all regions that are there: small ones count as much as large ones."""
    chances = logits.softmax(dim=1)
    truth = F.one_hot(regions, len(REGIONS)).permute(0, 3, 1, 2)
    shared, both = (chances * truth).sum(dim=(0, 2, 3)), (chances + truth).sum(dim=(0, 2, 3))
    return 1 - (2 * shared / both.clamp(min=1))[truth.sum(dim=(0, 2, 3)) > 0].mean()


def _draw_crops(
    data: LatentSet, vae: AutoencoderKL, settings: SegmenterSettings, numbers: np.random.Generator, noise: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return random crops (B, 3, side, side), -1..1, some mirrored, degraded like generated pictures, and their regions."""
    renders, cells = data.renders, settings.crop_px // CELL_PX
    restored = numbers.random() < settings.restored_share
    pictures, regions = [], []
    for index in numbers.integers(len(data.latents), size=settings.batch):
        top, left = numbers.integers(data.latents.shape[-1] - cells + 1, size=2)
        window = (index, *(slice(CELL_PX * start, CELL_PX * (start + cells)) for start in (top, left)))
        pictures.append(
            data.latents[index, :, top : top + cells, left : left + cells] if restored else renders.pictures[window]
        )
        regions.append(regions_of(renders.masks[window]))
    truth = torch.from_numpy(np.stack(regions).astype(np.int64)).to(device)
    if restored:
        latents = torch.from_numpy(np.stack(pictures)).to(device).float()
        latents += 0.4 * numbers.random() ** 2 * torch.randn(latents.shape, generator=noise, device=device)
        crops = decode(vae, latents).float()
    else:
        sigma = numbers.uniform(0.3, 2.0) if numbers.random() < 0.5 else 0  # generated pictures are soft
        crops = to_tensor(np.stack([cv2.GaussianBlur(p, (0, 0), sigma) if sigma else p for p in pictures]), device)
    if numbers.random() < 0.5:
        crops, truth = crops.flip(-1), truth.flip(-1)
    return _disturb(crops, numbers, noise), truth


def _disturb(pictures: Tensor, numbers: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Change contrast and brightness, add grain."""
    grain = torch.randn(pictures.shape, generator=noise, device=pictures.device)
    contrast, brightness = numbers.uniform(0.75, 1.25), numbers.normal(0, 0.08)
    return (pictures * contrast + brightness + 0.04 * numbers.random() * grain).clamp(-1, 1)
