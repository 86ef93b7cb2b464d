"""Train the latent autoencoder: initial values that already pass colours through, then a plain regression.

A small autoencoder trained from random values learns brightness long before colour. This one starts as a
"highway": channels 0..7 of every level carry R, -R, G, -G, B, -B and two constants, so that its first
reconstruction is the picture averaged over 8 x 8 pixels, in the right colours. Training adds the detail.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from .checkpoints import Ema, Steps, set_rate, step_random
from .renders import Renders, regions_of

_STAGE = 1
_HIGHWAY = 8  # channels
_CONSTANT = 4.0  # keeps group statistics nearly independent of the picture
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


def pool_colours(pictures: Tensor) -> Tensor:
    """Average (B, 3, H, W) pictures over 8 x 8 cells: (B, 3, H/8, W/8)."""
    return F.avg_pool2d(pictures, 8)


def whitening(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ZCA matrix (3, 3) and mean (3,) of the pooled colours of pictures (B, 3, H, W) in -1..1."""
    colours = pool_colours(pictures).permute(1, 0, 2, 3).reshape(3, -1).double()
    mean = colours.mean(dim=1)
    values, vectors = torch.linalg.eigh(torch.cov(colours))
    matrix = vectors @ torch.diag(values.clamp(min=1e-6).rsqrt()) @ vectors.T
    return matrix.float(), mean.float()


@torch.no_grad()
def lay_highway(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Set initial values that pass pooled colours through the latents; return the whitening they hold.

    pictures: float (B, 3, H, W), -1..1: a sample of the data, to measure its colours and the group statistics.
    """
    matrix, mean = whitening(pictures)
    # Diffusers types its modules' parts too loosely to index their weights.
    encoder: Any = vae.encoder
    decoder: Any = vae.decoder
    quant_convs: tuple[Any, Any] = (vae.quant_conv, vae.post_quant_conv)
    signs = torch.tensor([1.0, -1.0])

    _clear(encoder.conv_in, _HIGHWAY)
    for colour in range(3):
        encoder.conv_in.weight[2 * colour : 2 * colour + 2, colour, 1, 1] = signs
    encoder.conv_in.bias[6:8] = signs * _CONSTANT
    for half in (encoder, decoder):
        for block in _residual_blocks(half):
            _clear(block.conv2, _HIGHWAY)
            block.conv2.weight[_HIGHWAY:] *= 0.5
            if block.conv_shortcut is not None:
                _pass_through(block.conv_shortcut, torch.ones(1, 1))
    box = torch.zeros(3, 3)
    box[:2, :2] = 0.25  # the downsampler pads on the right and below only
    tent = torch.tensor([1.0, 2.0, 1.0])
    for conv in _samplers(encoder):
        _pass_through(conv, box)
    for conv in _samplers(decoder):
        _pass_through(conv, torch.outer(tent, tent) / 16)

    # Latents 0..2 are the whitened colours: silu(y) - silu(-y) = y undoes the nonlinearity before conv_out.
    encoder.conv_out.weight[3] *= 0.3
    _clear(encoder.conv_out, 3)
    for colour in range(3):
        encoder.conv_out.weight[:3, 2 * colour, 1, 1] = matrix[:, colour]
        encoder.conv_out.weight[:3, 2 * colour + 1, 1, 1] = -matrix[:, colour]
    encoder.conv_out.bias[:3] = -matrix @ mean
    encoder.conv_out.weight[4:] = 0
    encoder.conv_out.bias[4:] = -5.0
    inverse = torch.linalg.inv(matrix)
    _clear(decoder.conv_in, _HIGHWAY)
    for colour in range(3):
        for sign, row in ((1, 2 * colour), (-1, 2 * colour + 1)):
            decoder.conv_in.weight[row, :3, 1, 1] = sign * inverse[colour]
            decoder.conv_in.bias[row] = sign * mean[colour]
    decoder.conv_in.bias[6:8] = signs * _CONSTANT
    _clear(decoder.conv_out, 3)
    for colour in range(3):
        decoder.conv_out.weight[colour, 2 * colour : 2 * colour + 2, 1, 1] = signs
    for conv in quant_convs:
        conv.weight.copy_(torch.eye(conv.out_channels)[..., None, None])
        conv.bias.zero_()

    _cancel_norm(encoder.conv_norm_out, lambda: encoder(pictures))
    moments = encoder(pictures)
    _cancel_norm(decoder.conv_norm_out, lambda: decoder(moments[:, :4]))
    return matrix, mean


class SlowRows:
    """Scale the updates of the highway's rows, which a full learning rate would destroy."""

    def __init__(self, vae: AutoencoderKL) -> None:
        rows: list[tuple[nn.Parameter, int | None]] = []
        halves: tuple[Any, Any] = (vae.encoder, vae.decoder)
        quant_convs: tuple[Any, Any] = (vae.quant_conv, vae.post_quant_conv)
        for half in halves:
            convs = [half.conv_in, *_samplers(half)]
            for block in _residual_blocks(half):
                convs += [block.conv2, *([block.conv_shortcut] if block.conv_shortcut is not None else [])]
            rows += [(p, _HIGHWAY) for conv in convs for p in conv.parameters()]
            rows += [(p, None) for m in (half.conv_out, half.conv_norm_out) for p in m.parameters()]
        rows += [(p, None) for conv in quant_convs for p in conv.parameters()]
        self._rows = rows

    @torch.no_grad()
    def apply(self, optimizer: torch.optim.Optimizer, share: float) -> None:
        """Take an optimizer step of which the highway's rows follow only `share`."""
        before = [p[:rows].clone() for p, rows in self._rows]
        optimizer.step()
        for (parameter, rows), old in zip(self._rows, before, strict=True):
            parameter[:rows].lerp_(old, 1 - share)


def load_vae(folder: Path, device: torch.device) -> AutoencoderKL:
    """Load that of the model set in `folder`, in single precision."""
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    vae.register_to_config(_name_or_path="")  # else the export would tell where on this machine it came from
    return vae.to(device)  # pyright: ignore[reportArgumentType]


def train_vae(
    renders: Renders,
    settings: VaeSettings,
    folder: Path,
    start: Path | None,
    seed: int,
    device: torch.device,
    out_of_time: Callable[[], bool],
    report: Callable[[dict], None],
) -> AutoencoderKL | None:
    """Train with checkpoints under `folder`; return the model with unit-variance latents, None if out of time.

    start: a model set whose autoencoder is trained further; None to begin with the highway.
    """
    torch.manual_seed(seed)
    sample = to_tensor(renders.pictures[:48], torch.device("cpu"))
    if start is None:
        vae = build_vae(settings.widths)
        matrix, mean = (t.to(device) for t in lay_highway(vae, sample))
    else:
        vae = load_vae(start, torch.device("cpu"))
        matrix, mean = (t.to(device) for t in whitening(sample))
    vae.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    vae.train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    ema, slow = Ema(vae, 0.996), SlowRows(vae)
    left = Steps(folder / "vae.safetensors", vae, ema, optimizer, settings.steps, 1000, out_of_time)
    for step in left:
        large = step >= 0.75 * settings.steps
        side, count = (settings.large_crop_px, settings.large_crops) if large else (settings.crop_px, settings.crops)
        numbers, noise = step_random(seed, _STAGE, step, device)
        pictures, weight = _draw_crops(renders, numbers, count, side, device)
        progress = step / settings.steps
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=100)
        with torch.autocast(device.type, torch.bfloat16):
            losses = _losses(vae, pictures, weight, matrix, mean, noise, progress)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        slow.apply(optimizer, 0.1 + 0.3 * progress)
        ema.update(vae, step)
        if (step + 1) % 50 == 0:
            report({"stage": "vae", "step": step + 1, "of": settings.steps} | {k: float(v.detach()) for k, v in losses.items()})
    if not left.finished:
        return None
    ema.copy_to(vae)
    vae.eval()
    standardise_latents(vae, to_tensor(renders.pictures[:256], device))
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
    gradients = sum((weight.narrow(axis, 1, weight.shape[axis] - 1) * residual.diff(dim=axis).abs()).mean() for axis in (2, 3))
    pixels = (weight * residual.abs()).mean()
    squares = (weight * residual.square()).mean()
    pooled = pool_colours(residual).abs().mean()
    anchor_target = torch.einsum("ij,bjhw->bihw", matrix, pool_colours(pictures) - mean[:, None, None])
    anchor = (latents[:, :3] - anchor_target).square().mean()
    anchor_weight = max(0.3 * 0.5 ** (14 * progress), 0.01)
    detail = latents[:, 3]
    spread_loss = detail.mean().square() + (detail.std() - 1).square()
    kl = 0.5 * (latents.square() + spread.square() - 1 - 2 * spread.log()).mean()
    loss = pixels + 0.5 * (gradients + squares + pooled) + anchor_weight * anchor + 0.01 * spread_loss + 1e-5 * kl
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


def _residual_blocks(half: nn.Module) -> list[Any]:
    return [module for module in half.modules() if isinstance(module, ResnetBlock2D)]


def _samplers(half: nn.Module) -> list[Any]:
    return [module.conv for module in half.modules() if isinstance(module, (Downsample2D, Upsample2D))]


def _clear(conv: Any, rows: int) -> None:
    conv.weight[:rows] = 0
    conv.bias[:rows] = 0


def _pass_through(conv: Any, kernel: Tensor) -> None:
    _clear(conv, _HIGHWAY)
    for channel in range(_HIGHWAY):
        conv.weight[channel, channel] = kernel


def _cancel_norm(norm: nn.GroupNorm, run: Callable[[], Tensor]) -> None:
    """Set the weights of the highway's channels to their group's measured deviation."""
    seen: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    run()
    handle.remove()
    group = seen[0].unflatten(1, (norm.num_groups, -1))[:, 0]
    norm.weight[:_HIGHWAY] = group.flatten(1).std(dim=1).mean()
