"""Run a VAE over a canvas of any size in tiles that all share the statistics of the canvas.

Each tile carries the margin that the convolutions still to come reach over, so with the same statistics it computes what
the untiled network computes, and tiles meet without fading. The statistics come from walking all tiles to a GroupNorm,
pooling what they hold there, and walking on to the next. As many tiles wait there as are allowed to, by what they hold; the
others are walked again from where they last waited: exact at any size, and paid for in time, not in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..models.device_memory import free_bytes, room_bytes
from ..models.host_memory import give_back_freed_memory
from .vae_steps import Activations, Attend, Norm, Reach, Step, reaches

WINDOWS_LATENTS = (320, 160, 128, 96)  # sides of a tile with its margins, in latents: of a large one they are a smaller share
HOST_WINDOW_LATENTS = 160
# What is there of a tile while it is walked, in the decoder's largest activations: its input, its output and the residual of
# a convolution, which cuDNN copies once more. So it is in SDXL's: 17.0 GiB for 256 latents, reckoned and measured.
WALKED = 4.25
HELD_BYTES = 2 * 2**30  # by all tiles that wait for each other, beside the one that is walked; more on GPUs that have it
HOST_HELD_BYTES = 3 * 2**29  # so that a picture of 4096x4096 takes 3 GB beside the weights, pixels and all

Span = tuple[int, int]


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the canvas, as (first, end), in pixels of the network's input. seen_*: with the margins."""

    rows: Span
    columns: Span
    seen_rows: Span
    seen_columns: Span

    @property
    def margins(self) -> tuple[int, ...]:
        pairs = ((self.rows, self.seen_rows), (self.columns, self.seen_columns))
        return tuple(abs(own - seen) for span, wide in pairs for own, seen in zip(span, wide, strict=True))


def split(length: int, window: int, margin: int, multiple: int) -> list[tuple[Span, Span]]:
    """Parts of `length` as (part, part with margins): the latter equal but for rounding, at most `window`, on `multiple`.

    Raises ValueError where `window` has no room between the margins.
    """
    if length <= window:
        return [((0, length), (0, length))]
    core = (window - 2 * margin) // multiple * multiple
    if core <= 0:
        raise ValueError(f"a tile of {window} has no room between margins of {margin}: it must exceed {2 * margin + multiple}")
    count = ceil((length - 2 * margin) / core)  # the outer two have a margin on one side only, so their own part is longer
    ends = [margin + round((length - 2 * margin) * index / count / multiple) * multiple for index in range(1, count)]
    spans = zip([0, *ends], [*ends, length], strict=True)
    return [(span, (max(0, span[0] - margin), min(length, span[1] + margin))) for span in spans]


def walked_bytes(vae: AutoencoderKL, side_latents: int) -> int:
    """What walking a tile takes whose side is `side_latents` latents, in the VAE's precision. Its encoder takes less."""
    channels = vae.config["block_out_channels"]
    widest = channels[:2][-1] * 4 ** (len(channels) - 1)  # values per latent, after the last upsampling
    return int(WALKED * widest * vae.dtype.itemsize) * side_latents**2


def choose_window(device: torch.device, vae: AutoencoderKL, networks_bytes: int, share: float) -> int:
    """Side of a tile with its margins, in latents. By the whole memory of a GPU, not by what is free of it: tiles of another
    size come to the same picture but for rounding, and the same device should make the same picture.

    networks_bytes: on the device while the VAE works. share: as in MemorySaving.
    """
    most_bytes = walked_bytes(vae, HOST_WINDOW_LATENTS)
    if device.type == "cuda":
        most_bytes = room_bytes(device, networks_bytes) - HELD_BYTES
    fitting = (side for side in WINDOWS_LATENTS if walked_bytes(vae, side) <= most_bytes * share)
    return next(fitting, WINDOWS_LATENTS[-1])


def allowed_bytes(device: torch.device, vae: AutoencoderKL, window: int, share: float) -> int:
    """What waiting tiles may hold: HOST_HELD_BYTES in host memory; half of a GPU that is free beside the one that is walked.

    share: of that, as in MemorySaving.
    """
    if device.type != "cuda":
        return int(HOST_HELD_BYTES * share)
    return int(max(0, free_bytes(device) - walked_bytes(vae, window)) / 2 * share)


def plan_tiles(height: int, width: int, window: int, reach: Reach) -> list[Tile]:
    """Tiles that cover a canvas, row by row; each is at most `window` wide with its margins. All in pixels of the input."""
    rows, columns = (split(length, window, reach.margin, reach.multiple) for length in (height, width))
    return [Tile(row, column, seen_row, seen_column) for row, seen_row in rows for column, seen_column in columns]


def run_tiled(
    steps: Sequence[Step],
    read: Callable[[Tile], Tensor],
    height: int,
    width: int,
    *,
    window: int,
    held_bytes: int,
    check: Callable[[], None] = lambda: None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Iterator[tuple[Tile, Tensor]]:
    """Each tile and what the network makes of it, (C, h, w) without the margins, on the network's device.

    read: the input under a tile with its margins, (C, h, w), on the network's device and in its precision.
    height, width, window: pixels of the input. held_bytes: what tiles may hold that wait; the output does not depend on it.
    check: called before each walk over a tile; what it raises comes through.
    on_progress: called after each, with the share of walks that are done, 0 to 1.
    """
    looks = reaches(steps)
    tiles = plan_tiles(height, width, window, looks[0])
    pools: list[Tensor | None] = [None] * len(steps)
    held: list[Activations | None] = [None] * len(tiles)  # each tile before the step where it waits; None: to be read
    starts = [0] * len(tiles)  # those steps
    # a single tile is the canvas: its own statistics are the right ones
    stops = [n for n, step in enumerate(steps) if isinstance(step, Norm | Attend)] if len(tiles) > 1 else []
    walks = 0

    def walk(index: int, end: int) -> Activations:
        """The tile before the step `end`."""
        nonlocal walks
        check()
        tile, state, start = tiles[index], held[index], starts[index]
        give_back_freed_memory()  # of the tile before, in pieces that would hardly fit together again
        if state is None:
            state = Activations(read(tile)[None], margins=tile.margins)
        for step, pool, look in zip(steps[start:end], pools[start:end], looks[start + 1 :], strict=False):
            state = step.apply(state, pool).trim(look.margin)  # type: ignore[arg-type]  # a pool only where the step has one
        walks += 1
        on_progress(walks / len(tiles) / (len(stops) + 1))
        return state

    left_bytes = held_bytes
    for stop in stops:
        step, gathered = steps[stop], []
        assert isinstance(step, Norm | Attend)
        for index, before in enumerate(held):
            state = walk(index, stop)
            gathered.append(step.gather(state.own))
            more_bytes = state.size_bytes - (0 if before is None else before.size_bytes)
            if more_bytes <= left_bytes:
                held[index], starts[index] = state, stop
                left_bytes -= more_bytes
            del state, before  # else they would be there while the next one is walked
        pools[stop] = step.pool(gathered)
    for index, tile in enumerate(tiles):
        yield tile, walk(index, len(steps)).own[0]
        held[index] = None
