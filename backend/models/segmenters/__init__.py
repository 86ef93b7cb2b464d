"""The segmentation role: which pixels of a picture of one person are that person, and which are head, hair, ...

Each file has `load(model_set, device)`. To add a segmenter, add its file and, here, the model types that it takes.
"""

import json
from collections.abc import Collection
from importlib import import_module
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ..sets import ModelSet, ModelSetError

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels

# model type, as config.json has it, and the file that loads it
MODEL_TYPES = {"segformer": "semantic", "upernet": "semantic", "grounding-dino": "grounded"}


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
    """The segmenter that the role's config.json names by its model type. Raises ModelSetError for a type that is not known."""
    kind = json.loads((model_set.role_folder("segmenter") / "config.json").read_text()).get("model_type")
    if kind not in MODEL_TYPES:
        raise ModelSetError(
            f"The segmenter of the model set '{model_set.name}' has the model type '{kind}': "
            f"use one of {', '.join(MODEL_TYPES)} (the last with a 'sam' beside it)."
        )
    return import_module(f".{MODEL_TYPES[kind]}", __name__).load(model_set, device)
