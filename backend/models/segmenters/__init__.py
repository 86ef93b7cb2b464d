"""The segmentation role: which pixels of a picture of one person are that person, and which are head, hair, ...

Each file has `load(model_set, device)`. To add a segmenter, add its file and, in kinds.py, the model types that it takes.
"""

from collections.abc import Collection
from importlib import import_module
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ..kinds import SEGMENTERS
from ..manifest import read_json
from ..sets import ModelSet

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


class Segmenter(Protocol):
    """Finds a person and its parts. networks: what it runs, loaded in host memory; they must be on its device by then."""

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...

    def segment(self, image: np.ndarray, wanted: Collection[str], body: Box) -> dict[str, np.ndarray]:
        """Masks by name, bool (H, W): always "person", and those of the `wanted` parts ("head", "hair", ...) that it knows.

        image: uint8 (H, W, 3), RGB, one person. body: where that person's joints are, for a segmenter that may find others, or
        nobody.
        """
        ...


def load_segmenter(model_set: ModelSet, device: torch.device) -> Segmenter:
    """The segmenter that the role's config.json names by its model type; the set has been checked."""
    kind = read_json(model_set.role_folder("segmenter") / "config.json")["model_type"]
    return import_module(f".{SEGMENTERS[kind]}", __name__).load(model_set, device)
