"""How much work a picture will be, before any of it is done."""

import numpy as np

from ...protocol import RenderRequest
from ..models.load import Models
from .enlarge import choose_views
from .people import Figure, Person, bounding_box, scaled
from .plan import Plan, Size
from .views import grid, scaled_stride


def expect_evaluations(models: Models, request: RenderRequest, plan: Plan, people: list[Person], steps: int) -> int:
    """Network evaluations (guided pairs count once), from the boxes of the poses in place of masks not yet drawn."""
    factor = models.latent_downsampling
    window = models.training_resolution_px // factor
    boxes = [Figure(person, fill_box(request, person, plan.base), {}) for person in people]
    base = grid(
        plan.base.height // factor, plan.base.width // factor, window, scaled_stride(request.settings.stride_instance, window)
    )
    inpainting_steps = max(1, int(steps * request.settings.inpaint_strength))
    assert request.settings.t_b is not None  # settled
    level_steps = max(1, int(steps * request.settings.t_b))
    enlarging = sum(len(choose_views(request, boxes, size, window, factor)) for size in plan.levels)
    return len(people) * steps + len(base) * inpainting_steps + enlarging * level_steps


def fill_box(request: RenderRequest, person: Person, size: Size) -> np.ndarray:
    """bool (H, W) of the base image: the middle half of the pose's box, about what a body covers of it."""
    points = scaled(person.keypoints, size.width / request.width, size.height / request.height)
    left, top, right, bottom = bounding_box(points)
    quarter = (right - left) / 4
    mask = np.zeros((size.height, size.width), bool)
    mask[max(0, int(top)) : max(0, int(bottom)), max(0, int(left + quarter)) : max(0, int(right - quarter))] = True
    return mask
