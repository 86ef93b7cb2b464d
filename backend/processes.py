"""Several processes for one picture, one per device, as `torchrun` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


@contextmanager
def joined_processes() -> Iterator[int]:
    """Within, this process shares the views of each picture with the others that torchrun has started; yields its number.

    Each takes the GPU of its number on this machine, where there are GPUs. Without torchrun there is one process, number 0.
    """
    if "WORLD_SIZE" not in os.environ:
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()
