"""Initial values with which the autoencoder already passes colours through, and how training spares them.

A small autoencoder trained from random values learns brightness long before colour. This one starts as a
"highway": channels 0..7 of every level carry R, -R, G, -G, B, -B and two constants, so that its first
reconstruction is the picture averaged over 8 x 8 pixels, in the right colours. Training adds the detail.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

_HIGHWAY = 8  # channels
_CONSTANT = 4.0  # keeps group statistics nearly independent of the picture


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
