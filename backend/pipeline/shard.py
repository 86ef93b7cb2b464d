"""The views of one picture, shared out over several devices: one process per device, all with the same request.

Every process does every stage; of each step of joint diffusion it runs its share of the views, and what they add to the canvas,
8 MB at 8192x8192, is summed over all. Started by `torchrun`; alone, a process has all the views.
"""

from itertools import pairwise
from math import ceil
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def place() -> tuple[int, int]:
    """The number of this process, and of how many."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def my_share(views: list[T]) -> list[T]:
    """As many for each process but for one; of views that lie in a row, too. What others run does not depend on this one."""
    number, of = place()
    return views[number::of]


def even_parts(items: list[T], most: int) -> list[list[T]]:
    """`items` in parts of equal length but for one, at most `most`: few shapes of batches."""
    count = ceil(len(items) / most)
    ends = [round(len(items) * part / count) for part in range(count + 1)]
    return [items[start:end] for start, end in pairwise(ends)]


def add_over_devices(canvas: torch.Tensor) -> torch.Tensor:
    """The sum of the canvases of all processes, in place."""
    if place()[1] > 1:
        distributed.all_reduce(canvas)
    return canvas
