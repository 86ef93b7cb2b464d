"""A VAE's encoder and decoder as a flat list of steps, so that many tiles can be walked through it side by side.

Most steps look at a pixel and its neighbours. Two look at the whole canvas, GroupNorm and the attention of the mid
block: what they need from it is pooled over the tiles first, then every tile uses the same pool.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

MAX_KEYS = 256 * 256  # latents that attention looks at: all of a picture of 2048x2048


@dataclass(frozen=True)
class Activations:
    """One tile between two steps. hidden: (1, C, h, w). skip: what the residual block will add; None outside of one."""

    hidden: Tensor
    skip: Tensor | None = None

    def to(self, device: torch.device) -> "Activations":
        return Activations(self.hidden.to(device), None if self.skip is None else self.skip.to(device))

    @property
    def size_bytes(self) -> int:
        return self.hidden.nbytes + (0 if self.skip is None else self.skip.nbytes)


@dataclass(frozen=True)
class Local:
    """A layer whose output depends on a neighbourhood only."""

    layer: nn.Module

    def apply(self, tile: Activations, pool: None) -> Activations:
        return Activations(self.layer(tile.hidden), tile.skip)

    def reach_before(self, reach: int) -> int:
        """How many pixels beyond an area must be right before this step, so that `reach` of them are right after it."""
        convolution = getattr(self.layer, "conv", self.layer)
        kernel = convolution.kernel_size[0] if isinstance(convolution, nn.Conv2d) else 1
        if type(self.layer).__name__ == "Upsample2D":  # nearest neighbour x2, then a convolution
            return -(-(reach + kernel // 2) // 2)
        if type(self.layer).__name__ == "Downsample2D":  # every second pixel, the kernel reaching right and down
            return 2 * reach + kernel - 2
        return reach + kernel // 2


@dataclass(frozen=True)
class Add:
    """A residual block ends."""

    divisor: float

    def apply(self, tile: Activations, pool: None) -> Activations:
        assert tile.skip is not None
        return Activations((tile.hidden + tile.skip) / self.divisor)


@dataclass(frozen=True)
class Norm:
    """GroupNorm with the mean and variance of the canvas; a residual block begins here where `skip` is set.

    skip: what the block's input passes through before it is added at the end.
    """

    norm: nn.GroupNorm
    skip: nn.Module | None = None

    def gather(self, part: Tensor) -> Tensor:
        """Count, mean and mean square per group of one tile (1, C, h, w): float64 (3, groups), on the host."""
        groups = part.reshape(self.norm.num_groups, -1).float()
        variance, mean = (one.cpu().double() for one in torch.var_mean(groups, 1, correction=0))
        return torch.stack([torch.full_like(mean, groups.shape[1]), mean, variance + mean**2])

    def pool(self, gathered: Sequence[Tensor]) -> Tensor:
        """Mean and variance per group of the tiles taken together: float64 (2, groups)."""
        counts, means, squares = torch.stack(list(gathered), 1)  # each (tiles, groups)
        mean, square = ((counts * one).sum(0) / counts.sum(0) for one in (means, squares))
        return torch.stack([mean, (square - mean**2).clamp_min(0)])

    def apply(self, tile: Activations, pool: Tensor) -> Activations:
        skip = tile.skip if self.skip is None else self.skip(tile.hidden)
        mean, variance = pool.repeat_interleave(tile.hidden.shape[1] // self.norm.num_groups, 1)
        scale = self.norm.weight.cpu().double() / (variance + self.norm.eps).sqrt()
        shift = self.norm.bias.cpu().double() - mean * scale
        scale, shift = (one.to(tile.hidden.dtype).to(tile.hidden.device)[:, None, None] for one in (scale, shift))
        return Activations(torch.addcmul(shift, tile.hidden, scale), skip)


@dataclass(frozen=True)
class Attend:
    """Attention of each latent over the canvas.

    Up to MAX_KEYS latents it is exact. Beyond, every n-th row and column of latents is looked at: an approximation, but
    the same for all tiles, and still over the whole canvas, as attention within a tile would not be.
    """

    attention: Any  # diffusers' Attention with one input

    def gather(self, part: Tensor) -> Tensor:
        """The latents of one tile (1, C, h, w), on the host."""
        return part.cpu()

    def pool(self, gathered: Sequence[Tensor]) -> Tensor:
        """The latents that are looked at: (1, N, C), N at most MAX_KEYS."""
        step = 1
        while sum(thin(part, step)[0, 0].numel() for part in gathered) > MAX_KEYS:
            step += 1
        return torch.cat([thin(part, step).flatten(2) for part in gathered], 2).transpose(1, 2)

    def apply(self, tile: Activations, pool: Tensor) -> Activations:
        module, (height, width) = self.attention, tile.hidden.shape[-2:]
        keys = pool.to(tile.hidden.device)
        projected = (module.to_q(tile.hidden.flatten(2).transpose(1, 2)), module.to_k(keys), module.to_v(keys))
        query, key, value = (one.unflatten(2, (module.heads, -1)).transpose(1, 2) for one in projected)
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return Activations(module.to_out[0](seen).transpose(1, 2).unflatten(2, (height, width)), tile.skip)


Step = Local | Add | Norm | Attend


def thin(part: Tensor, step: int) -> Tensor:
    """Every `step`-th row and column, from the middle of the first cell on."""
    return part[..., step // 2 :: step, step // 2 :: step]


def encoder_steps(vae: AutoencoderKL) -> list[Step]:
    """From pixels to the mean and log variance of the posterior."""
    encoder: Any = vae.encoder
    steps: list[Step] = [Local(encoder.conv_in)]
    for block in encoder.down_blocks:
        steps += [*residuals(block), *(Local(layer) for layer in block.downsamplers or ())]
    steps += [*middle(encoder.mid_block), *head(encoder)]
    return steps if vae.quant_conv is None else [*steps, Local(vae.quant_conv)]


def decoder_steps(vae: AutoencoderKL) -> list[Step]:
    """From latents, as the VAE scales them, to pixels."""
    decoder: Any = vae.decoder
    steps: list[Step] = [] if vae.post_quant_conv is None else [Local(vae.post_quant_conv)]
    steps += [Local(decoder.conv_in), *middle(decoder.mid_block)]
    for block in decoder.up_blocks:
        steps += [*residuals(block), *(Local(layer) for layer in block.upsamplers or ())]
    return [*steps, *head(decoder)]


def residuals(block: Any) -> Iterator[Step]:
    for resnet in block.resnets:
        yield from residual(resnet)


def residual(resnet: Any) -> Iterator[Step]:
    """ResnetBlock2D without a time embedding; its dropout does nothing in eval mode."""
    yield from (Norm(resnet.norm1, skip=resnet.conv_shortcut or nn.Identity()), Local(resnet.nonlinearity), Local(resnet.conv1))
    yield from (Norm(resnet.norm2), Local(resnet.nonlinearity), Local(resnet.conv2), Add(resnet.output_scale_factor))


def middle(block: Any) -> Iterator[Step]:
    """UNetMidBlock2D: residual blocks with attention between them, where the VAE has it."""
    yield from residual(block.resnets[0])
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            yield from (Norm(attention.group_norm, skip=nn.Identity()), Attend(attention))
            yield Add(attention.rescale_output_factor)
        yield from residual(resnet)


def head(network: Any) -> Iterator[Step]:
    yield from (Norm(network.conv_norm_out), Local(network.conv_act), Local(network.conv_out))


def halo_of(steps: Sequence[Step]) -> int:
    """Pixels (of the input) that a tile needs around the area whose output is to be exact."""
    reach = 0
    for step in reversed(steps):
        if isinstance(step, Local):
            reach = step.reach_before(reach)
    return reach
