"""What is written to a file: the picture, and who stands where in it."""

from dataclasses import dataclass

import numpy as np


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
