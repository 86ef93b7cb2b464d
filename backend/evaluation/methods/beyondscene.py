"""BeyondScene (Kim et al. 2024, arXiv 2404.04544), as this project's pipeline has it."""

import numpy as np

from ....protocol import RenderRequest, RenderSettings
from ...models.load import Models
from ...pipeline import render
from ...watch import Watcher

READS = frozenset(RenderSettings.__struct_fields__)


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    image, *_ = render(models, request, arrays, watcher)
    return image
