"""Our base image (people drawn alone, composited, background inpainted, tone matched), enlarged without any model."""

from dataclasses import replace

import cv2
import numpy as np

from ....protocol import RenderRequest
from ...models.load import Models
from ...pipeline import Progress, draw_base_image
from ...pipeline.prompts import PromptEncoder
from ...planning.expect import expect_work
from ...planning.people import gather_people
from ...planning.plan import plan_sizes
from ...watch import Watcher
from .canvas import DIFFUSION

READS = DIFFUSION | {
    "person_cover", "mask_feather_px", "seam_erosion_px", "inpaint_people", "inpaint_strength", "clahe_clip_limit",
    "clahe_tiles", "stride_instance", "view_weighting", "view_prompts", "prepend_global", "min_overlap",
}  # fmt: skip


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    sizes = models.training_resolution_px, models.latent_downsampling
    plan, people = replace(plan_sizes(request, *sizes), levels=()), gather_people(request, models.manifest)
    models, encoder = replace(models, check=watcher.check), PromptEncoder(models)
    progress = Progress(watcher, 0, expect_work(request, plan, people, *sizes).whole)
    image, _ = draw_base_image(models, request, arrays, people, plan.base, encoder, progress)
    return cv2.resize(image, (request.width, request.height), interpolation=cv2.INTER_LANCZOS4)
