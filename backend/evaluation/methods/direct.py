"""Native: the model asked for the full size at once, larger than it was trained for."""

import numpy as np

from ....protocol import RenderRequest
from ...models.load import Models
from ...planning.plan import Size
from ...watch import Watcher
from .canvas import CANVAS, draw_from_noise, whole_view

READS = CANVAS


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    views, window = whole_view(Size(request.width, request.height), models.latent_downsampling)
    return draw_from_noise(models, request, views, window, watcher)
