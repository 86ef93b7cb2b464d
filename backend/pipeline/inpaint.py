"""Stage 1: draw the background around the people, as joint diffusion where the base is larger than one view."""

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import torch

from ...protocol import GREY, RenderRequest
from ..models.load import Models
from ..models.loras import merge_loras
from ..planning.people import Figure
from ..planning.plan import Size
from ..planning.resolve import background_strength, resolved_settings
from ..planning.views import View, grid, scaled_stride
from .composite import Collage, blend, inside_px
from .conditions import Condition, describe_views, joined
from .joint import denoise
from .latents import decode_latents, encode_image
from .progress import Progress
from .prompts import PromptEncoder
from .sampler import make_sampler
from .schedule import add_noise
from .seeds import draw_noise


def inpaint_background(
    models: Models, request: RenderRequest, collage: Collage, encoder: PromptEncoder, seam_px: float, progress: Progress
) -> np.ndarray:
    """uint8 (H, W, 3): the collage with the scene behind its people, drawn from noise or from the request's backdrop.

    seam_px: how far into the people the background may reach, in pixels of the base, so that rims are drawn anew.
    """
    settings = resolved_settings(request)
    common = make_sampler(models, request, encoder, background_strength(request))
    scheduler, timesteps = common.scheduler, common.timesteps
    with progress.stage("inpaint", steps=len(timesteps)) as stage:
        height, width = collage.cover.shape
        factor, window = models.latent_downsampling, models.view_latents
        people = collage.cover > 0.5
        known, alpha = keep_people(collage, seam_px)
        repaint_mask = torch.from_numpy(find_repaint_mask(known, factor)).to(models.device)
        # colours reach beyond the people's outlines, and latents that are known in part would make them stouter
        clean = encode_image(models, np.where(people[..., None], collage.image, collage.backdrop))
        noise = draw_noise(request.seed, "background", tuple(clean.shape)).to(models.device)
        views = grid(height // factor, width // factor, window, scaled_stride(settings.stride_instance, window))
        conditions = background_conditions(models, request, collage.figures, Size(width, height), views)

        def known_before(index: int) -> torch.Tensor:
            """What is known, as noisy as the canvas is before step `index`; clean after the last one."""
            return add_noise(scheduler, clean, noise, timesteps[index]) if index < len(timesteps) else clean

        sampler = replace(
            common,
            unet=models.inpainting,
            view_weighting=settings.view_weighting,
            extra=masked_latents(models, collage.image, known, repaint_mask),
            after_step=lambda latents, index: latents * repaint_mask + known_before(index) * (1 - repaint_mask),
        )
        latents = denoise(sampler, partial(known_before, 0), window, views, conditions, stage)
        image = blend(decode_latents(models, latents), collage.image, alpha)
        progress.preview(image)
    return image


def background_conditions(
    models: Models, request: RenderRequest, figures: list[Figure], size: Size, views: list[View]
) -> list[Condition]:
    """What each view of the base, of `size`, is told of the people in it, as `inpaint_people` has it.

    They are drawn already: what is theirs alone is not the background's. Poses say where the ground is; prompts would call
    forth more people.
    """
    inpaint_people = resolved_settings(request).inpaint_people
    conditions = describe_views(
        request,
        [] if inpaint_people == "nothing" else figures,
        size,
        views,
        models.training_resolution_px,
        models.latent_downsampling,
        models.manifest.pose_line_width_px,
    )
    conditions = [replace(condition, loras=merge_loras(request.loras)) for condition in conditions]
    if inpaint_people == "everything":
        return conditions
    scene = {"prompt": joined(request.prompt, request.style), "negative_prompt": request.negative_prompt}
    return [replace(condition, **scene) for condition in conditions]


def masked_latents(models: Models, image: np.ndarray, known: np.ndarray, repaint_mask: torch.Tensor) -> torch.Tensor | None:
    """(1 + C, h, w) mask and masked image for a UNet that sees them, as SDXL-inpainting; None for one that does not."""
    if models.inpainting.config["in_channels"] == models.unet.config["in_channels"]:
        return None
    masked = np.where(known[..., None], image, np.uint8(GREY))
    return torch.cat([repaint_mask, encode_image(models, masked)])


def keep_people(collage: Collage, seam_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the collage is kept: bool (H, W), without people's outermost `seam_px`, and float32 (H, W), softly.

    Of somebody thin half of the thickest part stays: whoever is small in the scene would be painted over.
    """
    depth_px = inside_px(collage.cover > 0.5)
    rim_px = np.full(depth_px.shape, seam_px)
    for figure in collage.figures:
        rim_px[figure.mask] = min(seam_px, depth_px[figure.mask].max() / 2)
    known, alpha = depth_px > rim_px, np.zeros(depth_px.shape, np.float32)
    for width_px in np.unique(rim_px):
        core = known & (rim_px == width_px)
        alpha += cv2.GaussianBlur(core.astype(np.float32), (0, 0), max(0.5, width_px / 2))
    return known, np.minimum(alpha, collage.cover)  # the collage has nothing but grey where nobody is


def find_repaint_mask(known: np.ndarray, factor: int) -> np.ndarray:
    """bool (H, W) to float32 (1, H/f, W/f), f the `factor`: 1 where less than half of a latent's pixels are known."""
    height, width = known.shape
    share = known.reshape(height // factor, factor, width // factor, factor).mean((1, 3))
    return (share < 0.5).astype(np.float32)[None]
