"""What is written to a file: the picture, and who stands where in it."""

import os
from dataclasses import dataclass

import numpy as np

MOST_THREADS = 8  # each holds what a band of rows or a few tiles take


def thread_count() -> int:
    """Threads that pack a picture; the file is the same for any number."""
    return min(MOST_THREADS, os.cpu_count() or 1)


@dataclass(frozen=True)
class Layer:
    """One person of the picture. name: the character's id. mask: bool (h, w), over the whole picture at whatever size."""

    name: str
    mask: np.ndarray


@dataclass(frozen=True)
class Picture:
    """image: uint8 (H, W, 3), sRGB. layers: the people, near to far; their masks are disjoint."""

    image: np.ndarray
    layers: tuple[Layer, ...] = ()
