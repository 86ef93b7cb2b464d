"""Stage 2: instance-aware hierarchical enlargement, one level at a time."""

from dataclasses import replace

import numpy as np
import torch

from ...protocol import RenderRequest
from ..models.load import Models
from ..planning.expect import choose_views, expect_painting
from ..planning.people import Figure
from ..planning.plan import Size
from ..planning.resolve import resolved_settings
from ..watch import PixelType
from .conditions import describe_views, to_grid
from .inject import inject_detail
from .joint import denoise
from .latents import decode_latents, encode_image
from .progress import Progress
from .prompts import PromptEncoder
from .sampler import make_sampler
from .schedule import add_noise
from .seeds import draw_noise, numpy_random


def enlarge_level(
    models: Models, request: RenderRequest, figures: list[Figure], image: np.ndarray, size: Size, level: int,
    encoder: PromptEncoder, progress: Progress, dtype: PixelType = np.uint8,
) -> np.ndarray:  # fmt: skip
    """`image`, uint8 (H, W, 3), at `size`, with the detail that the model gives it, in `dtype`; see decode_latents.

    Forward diffusion to T_b after high-frequency injection, then adaptive joint diffusion back.
    request: with its settings resolved. figures: far to near, of the base image. level: from 1.
    """
    settings, factor = resolved_settings(request), models.latent_downsampling
    window = models.view_latents
    sampler = replace(
        make_sampler(models, request, encoder, settings.t_b),
        view_weighting=settings.view_weighting,
        controlnet_views=settings.controlnet_views,
        guidance_interval=settings.guidance_interval,
        background_every=settings.background_every,
        canvas_px=(size.height, size.width) if settings.size_conditioning == "canvas" else None,
    )
    encoding, decoding = expect_painting(size, models.training_resolution_px, settings.guidance_scale > 1)
    with progress.stage("enlarge", level, len(sampler.timesteps)) as stage:

        def begin() -> torch.Tensor:
            # without a name for the injected picture, which else would be in memory beside the one that is decoded
            random = numpy_random(request.seed, f"injection {level}")
            clean = encode_image(models, inject_detail(image, size, settings, random), stage.part(encoding))
            noise = draw_noise(request.seed, f"level {level}", tuple(clean.shape)).to(models.device)
            return add_noise(sampler.scheduler, clean, noise, sampler.timesteps[0])

        people = find_people(figures, size.height // factor, size.width // factor)
        views = choose_views(request, people, window)
        conditions = describe_views(
            request, figures, size, views, models.training_resolution_px, factor, models.manifest.pose_line_width_px
        )
        latents = denoise(sampler, begin, window, views, conditions, stage)
    with progress.stage("decode", level) as stage:
        enlarged = decode_latents(models, latents, stage.part(decoding), dtype)
        progress.preview(enlarged)
    return enlarged


def find_people(figures: list[Figure], height: int, width: int) -> np.ndarray:
    """bool (height, width): the latents in which anybody is. figures: of the base image, in any order."""
    if not figures:
        return np.zeros((height, width), bool)
    return to_grid(np.logical_or.reduce([figure.mask for figure in figures]), height, width)
