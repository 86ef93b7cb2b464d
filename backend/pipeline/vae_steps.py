"""A VAE's encoder and decoder as a flat list of steps, so that many tiles can be walked through it side by side.

Most steps look at a pixel and its neighbours. Two look at the whole canvas, GroupNorm and the attention of the mid
block: what they need from it is pooled over the tiles first, then every tile uses the same pool.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional

MIN_ROWS = 16  # of a tile whose moments are summed at once
MAX_KEYS = 256 * 256  # latents that attention looks at: all of a picture of 2048x2048
# Attention's map at once, where torch makes a whole one: Apple's GPUs, which end the process beyond 2**30 numbers, and AMD's
# that have no fused kernel. A picture of 1024x1024 in one tile is just within it.
MAX_MAP = 2**28


class Reach(NamedTuple):
    """How far beyond an area the rest of a network looks, at the scale it has come to.

    multiple: what the rest divides lengths by, so that tiles must begin and end on multiples of it.
    """

    pixels: int
    multiple: int

    @property
    def margin(self) -> int:
        return -(-self.pixels // self.multiple) * self.multiple


@dataclass(frozen=True)
class Activations:
    """What a network holds of one tile between two steps.

    hidden: (1, C, h, w). skip: what the residual block will add, as large; None outside of one.
    margins: rows above and below, columns left and right of the tile's own area, at the scale of `hidden`. They are short
        at the border of the canvas, where the network pads with zeros as it does untiled.
    """

    hidden: Tensor
    skip: Tensor | None = None
    margins: tuple[int, ...] = (0, 0, 0, 0)

    @property
    def own(self) -> Tensor:
        return cut(self.hidden, self.margins)

    @property
    def size_bytes(self) -> int:
        return self.hidden.nbytes + (0 if self.skip is None else self.skip.nbytes)

    def trim(self, margin: int) -> "Activations":
        """With margins of at most `margin`: views, not copies."""
        excess = [max(0, own - margin) for own in self.margins]
        margins = tuple(min(own, margin) for own in self.margins)
        return Activations(cut(self.hidden, excess), None if self.skip is None else cut(self.skip, excess), margins)


def cut(field: Tensor, margins: Sequence[int]) -> Tensor:
    """`field` (..., h, w) without so many rows above and below, columns left and right."""
    top, bottom, left, right = margins
    return field[..., top : field.shape[-2] - bottom, left : field.shape[-1] - right]


@dataclass(frozen=True)
class Local:
    """A layer whose output depends on a neighbourhood only."""

    layer: nn.Module

    def apply(self, tile: Activations, pool: None) -> Activations:
        in_place = isinstance(self.layer, nn.SiLU)  # it follows a norm, whose output nobody else holds
        hidden = functional.silu(tile.hidden, inplace=True) if in_place else self.layer(tile.hidden)
        size, before = hidden.shape[-1], tile.hidden.shape[-1]
        return replace(tile, hidden=hidden, margins=tuple(margin * size // before for margin in tile.margins))

    def reach(self, after: Reach) -> Reach:
        """What must be right before this step, so that `after` is right after it."""
        convolution = getattr(self.layer, "conv", self.layer)
        kernel = convolution.kernel_size[0] if isinstance(convolution, nn.Conv2d) else 1
        if isinstance(self.layer, Upsample2D):  # nearest neighbour x2, then a convolution
            return Reach(-(-(after.pixels + kernel // 2) // 2), max(1, after.multiple // 2))
        if isinstance(self.layer, Downsample2D):  # every second pixel, the kernel reaching right and down
            return Reach(2 * after.pixels + kernel - 2, 2 * after.multiple)
        return Reach(after.pixels + kernel // 2, after.multiple)


@dataclass(frozen=True)
class Add:
    """A residual block ends."""

    divisor: float

    def apply(self, tile: Activations, pool: None) -> Activations:
        assert tile.skip is not None
        added = tile.hidden.add_(tile.skip)  # a convolution's output, or attention's: nobody else holds it
        return replace(tile, hidden=added if self.divisor == 1 else added.div_(self.divisor), skip=None)


@dataclass(frozen=True)
class Norm:
    """GroupNorm with the mean and variance of the canvas; a residual block begins here where `skip` is set.

    skip: what the block's input passes through before it is added at the end.
    """

    norm: nn.GroupNorm
    skip: nn.Module | None = None

    def gather(self, part: Tensor) -> Tensor:
        """Count, mean and mean square per group of one tile (1, C, h, w): float64 (3, groups), on the host.

        Summed row by row: on a CPU several times as fast as var_mean of a group, in each layout, and more precise.
        """
        sums, squares = [], []
        for block in part[0].split(max(MIN_ROWS, part.shape[2] // 16), 1):  # copies stay small, and in a CPU's cache
            rows = block.float().permute(1, 2, 0)
            sums.append(rows.sum(1))
            squares.append(rows.square().sum(1))
        count = part.numel() / self.norm.num_groups
        totals = (torch.cat(of_rows).cpu().double().sum(0) for of_rows in (sums, squares))  # each (C,)
        mean, square = (total.reshape(self.norm.num_groups, -1).sum(1) / count for total in totals)
        return torch.stack([torch.full_like(mean, count), mean, square])

    def pool(self, gathered: Sequence[Tensor]) -> Tensor:
        """Mean and variance per group of the tiles taken together: float64 (2, groups)."""
        counts, means, squares = torch.stack(list(gathered), 1)  # each (tiles, groups)
        mean, square = ((counts * moment).sum(0) / counts.sum(0) for moment in (means, squares))
        return torch.stack([mean, (square - mean**2).clamp_min(0)])

    def apply(self, tile: Activations, pool: Tensor | None) -> Activations:
        skip = tile.skip if self.skip is None else self.skip(tile.hidden)
        if pool is None:
            return replace(tile, hidden=self.norm(tile.hidden), skip=skip)
        mean, variance = pool.repeat_interleave(tile.hidden.shape[1] // self.norm.num_groups, 1).float().to(tile.hidden.device)
        weight, bias = self.norm.weight.float(), self.norm.bias.float()  # single precision: what they shift is the tone
        hidden = functional.batch_norm(tile.hidden, mean, variance, weight, bias, eps=self.norm.eps)
        return replace(tile, hidden=hidden, skip=skip)


@dataclass(frozen=True)
class Attend:
    """Attention of each latent over the canvas.

    It looks at every n-th row and column of latents, n = `spacing`, the same ones from each tile: exact for 1, and beyond
    that still over the whole canvas, as attention within a tile would not be.
    """

    attention: Any  # diffusers' Attention with one input
    spacing: int

    def gather(self, part: Tensor) -> Tensor:
        """The latents of one tile that are looked at: (1, C, n)."""
        first = self.spacing // 2
        return part[..., first :: self.spacing, first :: self.spacing].flatten(2)

    def pool(self, gathered: Sequence[Tensor]) -> Tensor:
        """(1, N, C)."""
        return torch.cat(list(gathered), 2).transpose(1, 2)

    def apply(self, tile: Activations, pool: Tensor | None) -> Activations:
        module, (height, width) = self.attention, tile.hidden.shape[-2:]
        keys = self.pool([self.gather(tile.hidden)]) if pool is None else pool
        projected = (module.to_q(tile.hidden.flatten(2).transpose(1, 2)), module.to_k(keys), module.to_v(keys))
        query, key, value = (states.unflatten(2, (module.heads, -1)).transpose(1, 2) for states in projected)
        most = MAX_MAP // (module.heads * key.shape[2])  # queries at once
        parts = [functional.scaled_dot_product_attention(part, key, value) for part in query.split(most, 2)]
        seen = torch.cat(parts, 2).transpose(1, 2).flatten(2)
        return replace(tile, hidden=module.to_out[0](seen).transpose(1, 2).unflatten(2, (height, width)))


Step = Local | Add | Norm | Attend


def encoder_steps(vae: AutoencoderKL, latent_count: int) -> list[Step]:
    """From pixels to the mean and log variance of the posterior. latent_count: of the canvas."""
    encoder: Any = vae.encoder
    steps: list[Step] = [Local(encoder.conv_in)]
    for block in encoder.down_blocks:
        steps += [*residuals(block), *(Local(layer) for layer in block.downsamplers or ())]
    steps += [*middle(encoder.mid_block, latent_count), *head(encoder)]
    return steps if vae.quant_conv is None else [*steps, Local(vae.quant_conv)]


def decoder_steps(vae: AutoencoderKL, latent_count: int) -> list[Step]:
    """From latents, as the VAE scales them, to pixels. latent_count: of the canvas."""
    decoder: Any = vae.decoder
    steps: list[Step] = [] if vae.post_quant_conv is None else [Local(vae.post_quant_conv)]
    steps += [Local(decoder.conv_in), *middle(decoder.mid_block, latent_count)]
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


def middle(block: Any, latent_count: int) -> Iterator[Step]:
    """UNetMidBlock2D: residual blocks with attention between them, where the VAE has it."""
    spacing = ceil((latent_count / MAX_KEYS) ** 0.5)
    yield from residual(block.resnets[0])
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            yield from (Norm(attention.group_norm, skip=nn.Identity()), Attend(attention, spacing))
            yield Add(attention.rescale_output_factor)
        yield from residual(resnet)


def head(network: Any) -> Iterator[Step]:
    yield from (Norm(network.conv_norm_out), Local(network.conv_act), Local(network.conv_out))


def reaches(steps: Sequence[Step]) -> list[Reach]:
    """What the network looks at beyond an area whose output is to be exact: before each step, and after the last."""
    found = [Reach(0, 1)]
    for step in reversed(steps):
        found.append(step.reach(found[-1]) if isinstance(step, Local) else found[-1])
    return found[::-1]
