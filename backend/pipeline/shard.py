"""The views of one picture, shared out over several devices: one process per device, all with the same request.

Every process does every stage; of each step of joint diffusion it runs its share of the views, and what they add to the canvas,
17 MB at 8192x8192, is summed over all. Started by `torchrun`; alone, a process has all the views.
"""

from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def my_shard(views: list[T]) -> list[T]:
    """What this process runs of `views`: as many as each other, or one more or less, also of those in a row that are equal."""
    rank, world_size = rank_and_world_size()
    return views[rank::world_size]


def all_reduce_sum(canvas: torch.Tensor) -> torch.Tensor:
    """The sum of the canvases of all processes, in place."""
    if rank_and_world_size()[1] > 1:
        distributed.all_reduce(canvas)
    return canvas
