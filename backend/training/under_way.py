"""A run under way: what all of its stages share. Never imports torch, for which the processes that render need not wait."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from safetensors import SafetensorError

from ...protocol import Refusal

if TYPE_CHECKING:
    import torch

Report = Callable[[dict], None]


class OutOfTime(Exception):  # noqa: N818  (no error: somebody set the time)
    """A run stops before its end. What it has done is saved, and the next call goes on from there."""


class Run(msgspec.Struct, frozen=True):
    """What every stage of a run is given, in one call of it."""

    folder: Path  # of checkpoints
    seed: int
    device: torch.device
    report: Report  # receives a small dict per event, always with "stage"
    time_left_s: Callable[[], float] = lambda: math.inf

    @property
    def out_of_time(self) -> bool:
        return self.time_left_s() < 0


def countdown(minutes: float | None) -> Callable[[], float]:
    """Return what tells the seconds that are left of so many minutes from now on; without end for None."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    return lambda: end - time.monotonic()


@contextmanager
def telling_of_files() -> Iterator[None]:
    """Within, a full disk or a spoilt file of a run is refused in a sentence: safetensors raises errors of its own."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        if isinstance(error, OSError) and error.strerror:  # Python's own, which names the file
            raise
        raise Refusal(
            f"A file of the run cannot be written or read ({error}): make room on the disk, or put that right, and call again "
            "to go on."
        ) from error


def print_event(event: dict) -> None:
    """As a line of JSON on standard output: a Report."""
    print(msgspec.json.encode(event).decode(), flush=True)
