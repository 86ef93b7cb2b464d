"""BeyondScene (Kim et al. 2024, arXiv 2404.04544), as this project's pipeline has it."""

import numpy as np

from ....protocol import RenderRequest
from ...models.load import Models
from ...models.loras import gather_loras
from ...pipeline import render
from ...watch import Watcher


def draw(models: Models, request: RenderRequest, watcher: Watcher) -> np.ndarray:
    with models.adapters.loaded(gather_loras(request, models.model_set)):
        image, *_ = render(models, request, {}, watcher)
    return image
