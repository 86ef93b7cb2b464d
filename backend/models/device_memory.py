"""The memory of a GPU that this process may take: all of it, or less where it has been held to less; and how it runs out."""

import sys

import torch

from ...protocol import Refusal
from .weights import PAGING_FILE

GIB = 2**30
OURS = 0.9  # of a GPU: a tenth is left to CUDA itself, to what else draws on the screen, and to gaps
# Of what it may take of a GPU torch breaks off at so much. Windows' drivers would not where a GPU is full, but go on with the
# host's memory, many times slower, and no fallback would ever be tried.
MOST = OURS if sys.platform == "win32" else 1.0
WORDS = (  # as cuBLAS, cuDNN, the CPU's allocator, MPS, XPU and HIP put it in a plain RuntimeError, safetensors in an OSError
    "out of memory", "status_alloc_failed", "can't allocate memory", "not enough memory", "out_of_device_memory",
    "out_of_resources", "out_of_host_memory", PAGING_FILE, "error code: <1455>",
    "unable to find an engine to execute this computation",  # torch has swallowed that there was no room for cuDNN's workspace
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error).lower() for words in WORDS)


def hold_to(device: torch.device, gib: float) -> None:
    """From now on torch takes at most so much of the GPU, and breaks off with OutOfMemoryError, as on a smaller one.

    Raises Refusal for a device that is no GPU, and for more than it has.
    """
    whole = torch.cuda.get_device_properties(device).total_memory / GIB if device.type == "cuda" else 0.0
    if not 0 < gib <= whole:
        has = f"has {whole:.1f}" if whole else "is no CUDA device"
        raise Refusal(f"--device-memory is {gib:g} GiB, but the device '{device}' {has}: leave it out, or choose less.")
    torch.cuda.set_per_process_memory_fraction(MOST * gib / whole, number_of(device))


def hold_to_the_card(device: torch.device) -> None:
    """From now on torch breaks off with OutOfMemoryError where a GPU is full, also where its driver does not."""
    if device.type == "cuda" and MOST < 1:
        torch.cuda.set_per_process_memory_fraction(MOST, number_of(device))


def total_bytes(device: torch.device) -> int:
    """Of a GPU, whatever is free of it, so that the same device makes the same picture."""
    get_fraction = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # torch before 2.7 cannot tell
    fraction = min(1.0, get_fraction(number_of(device)) / MOST) if get_fraction else 1.0
    return int(torch.cuda.get_device_properties(device).total_memory * fraction)


def room_bytes(device: torch.device, networks_bytes: int) -> int:
    """Of a GPU beside its networks."""
    return max(0, int(OURS * total_bytes(device)) - networks_bytes)


def free_bytes(device: torch.device) -> int:
    """That torch could still hand out on a GPU: what it has cached counts as free."""
    allocated = torch.cuda.memory_allocated(device)
    cached = torch.cuda.memory_reserved(device) - allocated
    return max(0, min(torch.cuda.mem_get_info(device)[0] + cached, int(MOST * total_bytes(device)) - allocated))


def number_of(device: torch.device) -> int:
    """For those functions of torch that do not take "cuda" for the current one."""
    return torch.cuda.current_device() if device.index is None else device.index
