"""How sparingly networks are run where memory is short."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ...protocol import Refusal
from ..watch import Checkpoints

MIB = 2**20

DEVICE_NAME = r"auto|cpu|mps|cuda(:[0-9]+)?"  # a pattern of what a user may write
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["none", "networks", "layers"]
OFFLOADS: tuple[Offload, ...] = get_args(Offload)  # each needs less memory than the one before it


def check_precision(kind: str, precision: Precision) -> None:
    """Raise Refusal for what a kind of device takes for ever to compute in. kind: "cpu", "cuda" or "mps"."""
    if kind == "cpu" and precision == "float16":
        raise Refusal("float16 is for GPUs, and over 30 times slower than float32 on a CPU: choose float32 or bfloat16 there.")


@dataclass(frozen=True)
class MemorySaving:
    """The picture does not depend on it, beyond rounding.

    name: for the record of a picture; empty for the usual way.
    share: of what the device has room for that views and tiles may take.
    view_batch: views that go through the network at once.
    vae_window_latents: side of an autoencoder's tile with its margins, in latents.
    vae_held_bytes: by all tiles that wait for each other.
    None of these three: their `share` of what there is room for.
    offload: which networks wait in host memory, at least: see DevicePlacement.
    """

    name: str = ""
    share: float = 1.0
    view_batch: int | None = None
    vae_window_latents: int | None = None
    vae_held_bytes: int | None = None
    offload: Offload = "none"


FULL_SPEED = MemorySaving()
KEY = "memory_fallback"  # of the checkpoint that holds the number of a fallback
SPARING = 3  # that which needs least of those that offload nothing

# Each fallback needs less memory than the one before it with as much offloaded, and more time.
FALLBACKS = (
    FULL_SPEED,
    MemorySaving("half as much at once", 1 / 2),
    MemorySaving("a quarter as much at once", 1 / 4),
    MemorySaving("views one by one, small tiles", 0, 1, 96, 256 * MIB),
    MemorySaving("networks offloaded", offload="networks"),
    MemorySaving("half as much at once, networks offloaded", 1 / 2, offload="networks"),
    MemorySaving("a quarter as much at once, networks offloaded", 1 / 4, offload="networks"),
    MemorySaving("views one by one, small tiles, networks offloaded", 0, 1, 96, 256 * MIB, "networks"),
    MemorySaving("views one by one, small tiles, layers offloaded", 0, 1, 96, 256 * MIB, "layers"),
)


def kept_fallback(checkpoints: Checkpoints) -> int:
    """Number of the fallback that an earlier attempt has come to."""
    kept = checkpoints.get(KEY)
    return int(kept["fallback"]) if kept else 0


def keep_fallback(checkpoints: Checkpoints, number: int) -> None:
    """Let later attempts begin with this fallback."""
    checkpoints.put(KEY, {"fallback": np.array(number)})


def next_fallback(number: int, crowded: bool) -> int:
    """The number of the fallback to try after FALLBACKS[number]; len(FALLBACKS) where none is left.

    crowded: whether the networks alone had no room. Then more of them must be offloaded, and as many views may go through.
    """
    before = FALLBACKS[number]
    for later in range(number + 1, len(FALLBACKS)):
        fallback = FALLBACKS[later]
        if crowded:
            helps = fallback.offload != before.offload and fallback.share <= before.share
        else:
            helps = fallback.share < before.share or not fallback.share
        if helps:
            return later
    return len(FALLBACKS)
