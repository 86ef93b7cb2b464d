"""The segmentation role: which pixels of a picture of one person are that person, and which are head, hair, ..."""

import json
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ..sets import ModelSet, ModelSetError


class Segmenter(Protocol):
    """Finds a person and its parts. networks: what it runs, loaded in host memory; they must be on its device by then."""

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...

    def segment(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Masks by name, bool (H, W): always "person"; "head", "hair", "upper_body", "lower_body" where it can tell.

        image: uint8 (H, W, 3), RGB, one person.
        """
        ...


def load_segmenter(model_set: ModelSet, device: torch.device) -> Segmenter:
    """The segmenter that the role's config.json names by its model type."""
    folder = model_set.role_folder("segmenter")
    kind = json.loads((folder / "config.json").read_text()).get("model_type")
    if kind in ("segformer", "upernet"):
        from .semantic import SemanticSegmenter

        return SemanticSegmenter(folder, device)
    if kind == "grounding-dino":
        from .grounded import GroundedSegmenter

        return GroundedSegmenter(folder, model_set.role_folder("sam"), device)
    raise ModelSetError(
        f"The segmenter of the model set '{model_set.name}' has the model type '{kind}': "
        f"use a 'segformer', an 'upernet', or a 'grounding-dino' with a 'sam' beside it."
    )
