"""How much work a picture will be, before any of it is done."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...protocol import RenderRequest, RequestError
from ..machine import find_memory
from ..models.sets import ModelSet
from .people import Person, bounding_box, gather_people, scaled
from .plan import Plan, Size, last_steps, plan_sizes
from .resolve import background_strength, resolve_request, resolved_settings
from .views import View, adaptive_views, grid, scaled_stride

# Measured (resident memory, Linux): of the process before a model is loaded, and of the largest canvas with the picture that
# it is enlarged from, where detail is injected and again where latents are decoded: 5.3 bytes per pixel at 8192x8192, 4.9 at
# 16384x16384. What views take besides is bounded and depends on the models, so it is not counted.
RUNTIME_BYTES = 550 * 10**6
PIXEL_BYTES = 5
# How long the autoencoder takes for a view's area, in rows of a view. Measured: SDXL on an H100 2.5 and 5.4, the embedded model
# on a CPU half as many. Where memory is short large canvases take several times as long.
ENCODING_ROWS, DECODING_ROWS = 2, 4


@dataclass(frozen=True)
class Workload:
    """What a picture asks for.

    people: drawn alone. views: of the base image, then of each level. steps: of each person, the base and each level.
    guided: whether evaluations are pairs, with the negative prompt. window_px: side of a view.
    """

    plan: Plan
    people: int
    views: tuple[int, ...]
    steps: tuple[int, int, int]
    guided: bool
    window_px: int

    @cached_property
    def evaluations(self) -> int:
        """Network evaluations; guided pairs count once."""
        alone, base, level = self.steps
        return self.people * alone + self.views[0] * base + sum(self.views[1:]) * level

    @property
    def rows(self) -> int:
        """Network evaluations; guided pairs count twice."""
        return self.evaluations * (2 if self.guided else 1)

    @property
    def whole(self) -> float:
        """All work, the autoencoder's at the levels included, as so many evaluations."""
        return self.evaluations + sum(sum(expect_painting(size, self.window_px, self.guided)) for size in self.plan.levels)

    @property
    def canvases(self) -> list[tuple[Size, int]]:
        """The base image, then each level, with their views."""
        return list(zip((self.plan.base, *self.plan.levels), self.views, strict=True))

    @property
    def canvas_pixels(self) -> int:
        """Of the base and all levels together."""
        return sum(size.width * size.height for size, _ in self.canvases)


def foresee(request: RenderRequest, models: ModelSet) -> Workload:
    """As expect_work, for a request as it was made. Raises Refusal for what `models` cannot draw."""
    request = resolve_request(request, models)
    plan = plan_sizes(request, models.training_resolution_px, models.latent_downsampling)
    return expect_work(request, plan, gather_people(request), models.training_resolution_px, models.latent_downsampling)


def expect_work(request: RenderRequest, plan: Plan, people: list[Person], window_px: int, latent_downsampling: int) -> Workload:
    """From the boxes of the poses, in place of masks not yet drawn. request: with its settings resolved.

    window_px: side of a view, the training resolution.
    """
    settings, window = resolved_settings(request), window_px // latent_downsampling
    stride = scaled_stride(settings.stride_instance, window)
    base = grid(plan.base.height // latent_downsampling, plan.base.width // latent_downsampling, window, stride)
    levels = [choose_views(request, fill_boxes(request, people, size, latent_downsampling), window) for size in plan.levels]
    return Workload(
        plan,
        len(people),
        (len(base), *map(len, levels)),
        (settings.steps, last_steps(settings.steps, background_strength(request)), last_steps(settings.steps, settings.t_b)),
        settings.guidance_scale > 1,
        window_px,
    )


def expect_painting(size: Size, window_px: int, guided: bool) -> tuple[float, float]:
    """What encoding and decoding a canvas takes, as so many evaluations; guided pairs count once."""
    views = size.width * size.height / window_px**2 / (2 if guided else 1)
    return ENCODING_ROWS * views, DECODING_ROWS * views


def least_memory_bytes(width: int, height: int) -> int:
    """Memory of the machine below which a picture of this size cannot be made, whatever the models."""
    return RUNTIME_BYTES + PIXEL_BYTES * width * height


def largest_size(width: int, height: int, memory_bytes: int) -> tuple[int, int]:
    """The largest size of these proportions, in multiples of 8, that `least_memory_bytes` allows."""
    scale = math.sqrt(max(0, memory_bytes - RUNTIME_BYTES) / PIXEL_BYTES / (width * height))
    return int(width * scale) // 8 * 8, int(height * scale) // 8 * 8


def check_memory(width: int, height: int) -> None:
    """Raise RequestError for a picture that this machine cannot hold, before anything is done for it."""
    needed, there = least_memory_bytes(width, height), find_memory().total
    if needed > there:
        most_wide, most_high = largest_size(width, height, there)
        raise RequestError(
            f"A picture of {width}x{height} px needs {needed / 1e9:.0f} GB of memory or more, but the machine "
            f"that renders it has {there / 1e9:.0f} GB: choose {most_wide}x{most_high} px at most, or a larger machine."
        )


def choose_views(request: RenderRequest, people: np.ndarray, window: int) -> list[View]:
    """The views of a canvas. people: bool (h, w) in latents, where somebody is. window: side of a view in latents."""
    return adaptive_views(
        people,
        window,
        scaled_stride(request.settings.stride_background, window),
        scaled_stride(request.settings.stride_instance, window),
        request.settings.beta_over,
    )


def fill_boxes(request: RenderRequest, people: list[Person], size: Size, latent_downsampling: int) -> np.ndarray:
    """bool (h, w) in latents of `size`: the middle half of each pose's box, about what a body covers of it."""
    width, height = size.width // latent_downsampling, size.height // latent_downsampling
    filled = np.zeros((height, width), bool)
    for person in people:
        points = scaled(person.keypoints, width / request.width, height / request.height)
        left, top, right, bottom = np.clip(bounding_box(points), 0, (width, height, width, height))
        quarter = (right - left) / 4
        filled[int(top) : int(np.ceil(bottom)), int(left + quarter) : int(np.ceil(right - quarter))] = True
    return filled
