"""Out of memory is no error: the work is tried again in a way that needs less, from where it had come to."""

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from ..protocol import Refusal, RenderRequest
from .machine import find_memory
from .models.device_memory import is_out_of_memory
from .models.fingerprint import weight_files
from .models.host_memory import give_back_freed_memory
from .models.load import Models
from .models.memory_saving import FALLBACKS, MemorySaving, keep_fallback, kept_fallback, next_fallback
from .models.offload import WeightsDoNotFit
from .models.sets import ModelSet, ModelSetError
from .pipeline.shard import rank_and_world_size
from .watch import Checkpoints

log = logging.getLogger(__name__)

T = TypeVar("T")


class OutOfMemory(Refusal):
    """There was not enough with the last fallback either. The message says what would fit."""


def retry_with_less_memory(
    attempt: Callable[[MemorySaving], T], checkpoints: Checkpoints, advice: Callable[[], str], first: int = 0
) -> tuple[T, int]:
    """What `attempt` returns with the first of FALLBACKS with which the memory suffices, and the number of it.

    It begins with number `first`, or with a higher one that an earlier attempt has come to; after WeightsDoNotFit it goes on
    with those that keep fewer networks on the device. Raises OutOfMemory behind the last, with `advice()`; among several
    processes behind the first, for the others would wait in another step for one that begins anew.
    """
    process, processes = rank_and_world_size()
    number, words = max(first, kept_fallback(checkpoints)), ""
    while number < len(FALLBACKS):
        try:
            return attempt(FALLBACKS[number]), number
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            words, crowded = str(error).split("\n", 1)[0], isinstance(error, WeightsDoNotFit)
        if processes > 1:
            who = f"process {process + 1} of {processes}"
            raise OutOfMemory(f"The memory of {who} was not enough: pass --offload networks to all, or {advice()} ({words})")
        free_cached()  # out here, where no traceback holds the tensors any more
        number = next_fallback(number, crowded)
        if number < len(FALLBACKS):
            log.warning("the memory was not enough (%s): now with %s", words, FALLBACKS[number].name)
            keep_fallback(checkpoints, number)
    raise OutOfMemory(f"The memory was not enough, even with {FALLBACKS[-1].name}: {advice()} ({words})")


def free_cached() -> None:
    """Give back what allocators keep for later."""
    gc.collect()
    give_back_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def what_would_load(model_set: ModelSet, others: Sequence[ModelSet]) -> str:
    """A sentence for whoever has chosen models that the machine cannot hold. others: that are installed, too."""
    memory = find_memory()
    fitting = [other.name for other in others if is_complete(other) and file_bytes(other) < memory.available]
    smaller = f"choose {' or '.join(fitting)}, or close other programs" if fitting else "close other programs"
    return (
        f"The memory was not enough to load the model set '{model_set.name}': its files have "
        f"{file_bytes(model_set) / 1e9:.1f} GB, the machine has {memory.total / 1e9:.1f} GB, of which "
        f"{memory.available / 1e9:.1f} are free: {smaller}."
    )


def is_complete(model_set: ModelSet) -> bool:
    try:
        return not model_set.missing_roles
    except ModelSetError:  # one of its files cannot be read
        return False


def file_bytes(model_set: ModelSet) -> int:
    return sum(path.stat().st_size for path in weight_files(model_set))


def what_would_fit(models: Models, request: RenderRequest) -> str:
    """A sentence for whoever wished for a picture that was too much."""
    width, height = (side // 16 * 8 for side in (request.width, request.height))
    smaller = f"choose {width}x{height} px, or close other programs."
    if models.device.type != "cuda":
        return smaller
    free_bytes, total_bytes = torch.cuda.mem_get_info(models.device)
    weights_bytes = models.placement.weights_bytes
    found = (
        f"the GPU has {total_bytes / 1e9:.1f} GB, {free_bytes / 1e9:.1f} are free, the networks have {weights_bytes / 1e9:.1f}"
    )
    return f"{found}; {smaller}" if weights_bytes < total_bytes else f"{found}; choose a smaller model set."
