"""Run a VAE over a canvas of any size in tiles that all share the statistics of the canvas.

Each tile carries the halo that the convolutions reach over, so with the same statistics it computes what the untiled
network computes, and tiles meet without fading. Statistics come from walking the tiles side by side: all of them stop at
a GroupNorm, what they hold is pooled, and they go on. Their activations wait in host memory. Where those of all tiles
would not fit in LOCKSTEP_BYTES, an even sample of the tiles is walked, and the others then use what it pooled: still one
set of statistics for the whole canvas, so no tile differs from its neighbour in tone, but the canvas as a whole differs
from the untiled network by the error of the sample (docs/method.md has figures).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from .vae_steps import Activations, Attend, Norm, Step, halo_of

WINDOW_CELLS = 160  # side of a tile with its halo, in latents; the widest tensor of SDXL's decoder then has 1.7 GB
LOCKSTEP_BYTES = 8 * 2**30  # of host memory
HOST = torch.device("cpu")

Span = tuple[int, int]


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the canvas, as (first, end), in pixels of the network's input.

    seen_*: with the halo, cut at the border of the canvas, where the network pads with zeros as it does untiled.
    """

    rows: Span
    columns: Span
    seen_rows: Span
    seen_columns: Span

    def inner(self, field: Tensor) -> Tensor:
        """`field` (..., h, w), in which this tile is at whatever scale, without the halo."""
        top, bottom = self.scaled(self.rows, self.seen_rows, field.shape[-2])
        left, right = self.scaled(self.columns, self.seen_columns, field.shape[-1])
        return field[..., top:bottom, left:right]

    @property
    def seen_area(self) -> int:
        return (self.seen_rows[1] - self.seen_rows[0]) * (self.seen_columns[1] - self.seen_columns[0])

    @staticmethod
    def scaled(span: Span, seen: Span, length: int) -> Span:
        scale = Fraction(length, seen[1] - seen[0])
        return int((span[0] - seen[0]) * scale), int((span[1] - seen[0]) * scale)


def split(length: int, window: int, halo: int, multiple: int) -> list[tuple[Span, Span]]:
    """Parts of `length` as (part, part with halo): the latter equal but for rounding, at most `window`, on `multiple`.

    Raises ValueError where `window` has no room between the halos.
    """
    if length <= window:
        return [((0, length), (0, length))]
    core = (window - 2 * halo) // multiple * multiple
    if core <= 0:
        raise ValueError(f"a tile of {window} leaves nothing between halos of {halo}: it must exceed {2 * halo + multiple}")
    count = ceil((length - 2 * halo) / core)  # the outer two have a halo on one side only, so their own part is longer
    ends = [halo + round((length - 2 * halo) * index / count / multiple) * multiple for index in range(1, count)]
    spans = zip([0, *ends], [*ends, length], strict=True)
    return [(span, (max(0, span[0] - halo), min(length, span[1] + halo))) for span in spans]


def plan_tiles(height: int, width: int, window: int, halo: int, multiple: int) -> list[Tile]:
    rows, columns = (split(length, window, halo, multiple) for length in (height, width))
    return [Tile(row, column, seen_row, seen_column) for row, seen_row in rows for column, seen_column in columns]


def spread(tiles: Sequence[Tile], count: int) -> list[Tile]:
    """`count` of `tiles`, evenly over the canvas: those first met by a lattice that repeats in no row and no column."""
    tops, lefts = ({at: n for n, at in enumerate(sorted({pick(t) for t in tiles}))} for pick in (by_row, by_column))
    order = sorted(tiles, key=lambda t: (tops[by_row(t)] * 0.7548777 + lefts[by_column(t)] * 0.5698403) % 1)
    return order[:count]


def by_row(tile: Tile) -> int:
    return tile.rows[0]


def by_column(tile: Tile) -> int:
    return tile.columns[0]


def run_tiled(
    steps: Sequence[Step],
    read: Callable[[Tile], Tensor],
    height: int,
    width: int,
    *,
    window: int,
    multiple: int,
    device: torch.device,
    lockstep_bytes: int = LOCKSTEP_BYTES,
) -> Iterator[tuple[Tile, Tensor]]:
    """Each tile and what the network makes of it, (C, h, w) without the halo, on the host.

    read: the input under a tile with its halo, (C, h, w) float32. height, width, window: pixels of the input.
    multiple: what the network divides its input by.
    """
    halo = ceil(halo_of(steps) / multiple) * multiple
    tiles = plan_tiles(height, width, window, halo, multiple)
    tile_bytes = bytes_per_pixel(steps, read(tiles[0]), multiple, device) * max(tile.seen_area for tile in tiles)
    sample = spread(tiles, max(1, int(lockstep_bytes / tile_bytes)))
    waiting = HOST if len(sample) > 1 else device
    states = [Activations(read(tile)[None].to(waiting)) for tile in sample]
    pools: list[Tensor | None] = [None] * len(steps)
    stops = [n for n, step in enumerate(steps) if isinstance(step, Norm | Attend)]
    for first, end in zip([0, *stops], [*stops, len(steps)], strict=True):
        gathered = []
        for index, tile in enumerate(sample):
            state = walk(steps[first:end], states[index].to(device), pools[first:end])
            if end < len(steps):
                gathered.append(gather(steps[end], tile.inner(state.hidden)))
            states[index] = state.to(waiting)
        if end < len(steps):
            pools[end] = pool(steps[end], gathered)
    for tile, state in zip(sample, states, strict=True):
        yield tile, tile.inner(state.hidden)[0].to(HOST)
    states.clear()
    for tile in tiles:
        if tile not in sample:
            yield tile, tile.inner(walk(steps, Activations(read(tile)[None].to(device)), pools).hidden)[0].to(HOST)


def gather(step: Step, part: Tensor) -> Tensor:
    assert isinstance(step, Norm | Attend)
    return step.gather(part)


def pool(step: Step, gathered: Sequence[Tensor]) -> Tensor:
    assert isinstance(step, Norm | Attend)
    return step.pool(gathered)


def walk(steps: Sequence[Step], state: Activations, pools: Sequence[Tensor | None]) -> Activations:
    for step, pooled in zip(steps, pools, strict=True):
        state = step.apply(state, pooled)  # type: ignore[arg-type]  # a pool where the step has one
    return state


def bytes_per_pixel(steps: Sequence[Step], field: Tensor, multiple: int, device: torch.device) -> float:
    """The most that a tile holds where tiles wait for each other, per pixel of the input; found by trying a small one."""
    side = 2 * multiple
    state = Activations(field[None, :, :side, :side].to(device))
    most, area = state.size_bytes, state.hidden.shape[-2] * state.hidden.shape[-1]
    for step in steps:
        pooled = None
        if isinstance(step, Norm | Attend):
            most = max(most, state.size_bytes)
            pooled = pool(step, [gather(step, state.hidden)])
        state = step.apply(state, pooled)  # type: ignore[arg-type]
    return max(most, state.size_bytes) / area
