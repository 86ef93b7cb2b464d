"""What is written to a file: the picture, and who stands where in it."""

import os
from dataclasses import dataclass

import numpy as np

PIXEL_BYTES = 3
HALF_BYTES = 2  # per pixel and channel of an OpenEXR file: three colours, the people's order, and a mask of each
MOST_THREADS = 8  # each holds what a band of rows or a few tiles take


def thread_count() -> int:
    """Threads that pack a picture; the file is the same for any number."""
    return min(MOST_THREADS, os.cpu_count() or 1)


def most_bytes(picture_format: str, width: int, height: int, people: int = 0) -> int:
    """Of a file of this format, a value of FORMATS, whose picture does not compress."""
    each = HALF_BYTES * (4 + people) if picture_format == "exr" else PIXEL_BYTES
    return each * width * height


@dataclass(frozen=True)
class Layer:
    """One person of the picture. name: the character's id. mask: bool (h, w), over the whole picture at whatever size."""

    name: str
    mask: np.ndarray


@dataclass(frozen=True)
class Picture:
    """image: (H, W, 3), sRGB, uint8 or the DTYPE of its format. layers: the people, near to far; their masks are disjoint."""

    image: np.ndarray
    layers: tuple[Layer, ...] = ()
