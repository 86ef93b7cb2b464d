"""Several processes for one picture, one per device, as `torchrun` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..protocol import Refusal

TORCHRUN = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")


def place_among_processes() -> tuple[int, int]:
    """The number of this process, and how many torchrun has started, as it says in the environment; without it 0 and 1.

    Raises Refusal for what something else has left there: processes that do not know of each other would all draw everything.
    """
    size, number, address, port = (os.environ.get(name, "") for name in TORCHRUN)
    if size in ("", "1"):
        return 0, 1
    if not (address and all(each.isdecimal() for each in (size, number, port)) and int(number) < int(size)):
        said = ", ".join(f"{name}={os.environ.get(name, '')}" for name in TORCHRUN)
        raise Refusal(
            f"The environment has {said}: torchrun sets all four for each of several processes that share a picture, so start "
            "this by torchrun, or unset WORLD_SIZE."
        )
    return int(number), int(size)


@contextmanager
def joined_processes() -> Iterator[int]:
    """Within, this process shares the views of each picture with the others that torchrun has started; yields its number.

    Each takes the GPU of its number on this machine, where there are GPUs. Without torchrun there is one process, number 0.
    """
    number, size = place_among_processes()
    if size == 1:
        yield 0
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield number
    finally:
        distributed.destroy_process_group()
