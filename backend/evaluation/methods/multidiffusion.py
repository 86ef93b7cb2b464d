"""MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113): one noise, overlapping views, outputs averaged at every step."""

import numpy as np

from ....protocol import RenderRequest
from ...models.load import Models
from ...planning.views import View, grid, scaled_stride
from ...watch import Watcher
from .canvas import CANVAS, draw_from_noise

READS = CANVAS | {"stride_instance", "background_every"}


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    views, window = dense_views(models, request)
    return draw_from_noise(models, request, views, window, watcher)


def dense_views(models: Models, request: RenderRequest) -> tuple[list[View], int]:
    """Views everywhere as dense as ours are over people, a quarter of a window apart (the paper's panoramas: an eighth)."""
    factor = models.latent_downsampling
    window = models.view_latents
    stride = scaled_stride(request.settings.stride_instance, window)
    height, width = max(request.height // factor, window), max(request.width // factor, window)
    return grid(height, width, window, stride), window
