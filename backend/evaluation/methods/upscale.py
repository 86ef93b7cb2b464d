"""Our base image (people drawn alone, composited, background inpainted, tone matched), enlarged without any model."""

import cv2
import numpy as np

from ....protocol import RenderRequest, resized
from ...models.load import Models
from ...pipeline import render
from ...planning.plan import plan_sizes
from ...watch import Watcher
from .canvas import DIFFUSION

READS = DIFFUSION | {
    "person_cover", "mask_feather_px", "seam_erosion_px", "inpaint_people", "inpaint_strength", "clahe_clip_limit",
    "clahe_tiles", "stride_instance", "view_weighting", "view_prompts", "prepend_global", "min_overlap",
}  # fmt: skip


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    base = plan_sizes(request, models.training_resolution_px, models.latent_downsampling).base
    image, *_ = render(models, resized(request, base.width, base.height), arrays, watcher)
    return cv2.resize(image, (request.width, request.height), interpolation=cv2.INTER_LANCZOS4)
