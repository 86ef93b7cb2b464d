"""Stage 1: draw the background around the people, as joint diffusion where the base is larger than one view."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from ...protocol import RenderRequest
from ..models.load import Models
from ..models.loras import worn
from ..planning.plan import Size
from ..planning.settle import settled
from ..planning.views import grid, scaled_stride
from .composite import BACKDROP, Collage
from .conditions import describe_views
from .joint import Job, denoise
from .latents import decode_latents, encode_image
from .progress import Progress
from .prompts import PromptEncoder
from .schedule import make_scheduler, noised
from .seeds import draw_noise


def inpaint_background(
    models: Models, request: RenderRequest, collage: Collage, encoder: PromptEncoder, seam_px: float, progress: Progress
) -> np.ndarray:
    """uint8 (H, W, 3): the collage with its grey replaced by the scene.

    seam_px: how far into the people the background may reach, in pixels of the base, so that rims are drawn anew.
    """
    settings = settled(request)
    height, width = collage.cover.shape
    size, factor = Size(width, height), models.latent_downsampling
    window = models.training_resolution_px // factor
    people = collage.cover > 0.5
    known, alpha = keep_people(collage, seam_px)
    free = torch.from_numpy(free_cells(known, factor)).to(models.device)  # (1, h, w), 1 where the background goes
    # colours reach beyond the people's outlines, and cells that are known in part would make them stouter
    clean = encode_image(models, np.where(people[..., None], collage.image, np.uint8(BACKDROP)))
    noise = draw_noise(request.seed, "background", tuple(clean.shape)).to(models.device)
    scheduler, timesteps = make_scheduler(models, settings.scheduler, settings.steps, settings.inpaint_strength)
    views = grid(height // factor, width // factor, window, scaled_stride(settings.stride_instance, window))
    told = settings.inpaint_people
    figures = [] if told == "nothing" else collage.figures
    conditions = describe_views(
        request, figures, size, views, models.training_resolution_px, factor, models.manifest.pose_line_width_px
    )
    # the people are drawn already; what is theirs alone is not the background's
    own: dict[str, Any] = {"loras": worn(request.loras)}
    if told != "everything":  # poses say where the ground is; prompts would call forth more people
        own |= {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    conditions = [replace(condition, **own) for condition in conditions]

    def known_before(index: int) -> torch.Tensor:
        """What is known, as noisy as the canvas is before step `index`; clean after the last one."""
        return noised(scheduler, clean, noise, timesteps[index]) if index < len(timesteps) else clean

    job = Job(
        models=models,
        unet=models.inpainting,
        encoder=encoder,
        scheduler=scheduler,
        timesteps=timesteps,
        guidance_scale=settings.guidance_scale,
        view_weighting=settings.view_weighting,
        controlnet_scale=settings.controlnet_conditioning_scale,
        guide_pose=settings.guide_pose,
        extra=masked_latents(models, collage.image, known, free),
        keep=lambda latents, index: latents * free + known_before(index) * (1 - free),
    )
    with progress.stage("inpaint", steps=len(timesteps)):
        latents = denoise(job, known_before(0), window, views, conditions, progress)
        background = decode_latents(models, latents)
        image = (background + (collage.image - background.astype(np.float32)) * alpha[..., None]).round().clip(0, 255)
        progress.preview(image.astype(np.uint8))
    return image.astype(np.uint8)


def masked_latents(models: Models, image: np.ndarray, known: np.ndarray, free: torch.Tensor) -> torch.Tensor | None:
    """(5, h, w) mask and masked image for a UNet with 9 input channels, as SDXL-inpainting; None for one with 4."""
    if models.inpainting.config["in_channels"] == models.unet.config["in_channels"]:
        return None
    masked = np.where(known[..., None], image, np.uint8(BACKDROP))
    return torch.cat([free, encode_image(models, masked)])


def keep_people(collage: Collage, seam_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the collage is kept: bool (H, W), without people's outermost `seam_px`, and float32 (H, W), softly.

    Of somebody thin half of the thickest part stays: whoever is small in the scene would be painted over.
    """
    inside_px = cv2.distanceTransform((collage.cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim_px = np.full(inside_px.shape, seam_px)
    for figure in collage.figures:
        rim_px[figure.mask] = min(seam_px, inside_px[figure.mask].max() / 2)
    known, alpha = inside_px > rim_px, np.zeros(inside_px.shape, np.float32)
    for width_px in np.unique(rim_px):
        core = known & (rim_px == width_px)
        alpha += cv2.GaussianBlur(core.astype(np.float32), (0, 0), max(0.5, width_px / 2))
    return known, np.minimum(alpha, collage.cover)  # the collage has nothing but grey where nobody is


def free_cells(known: np.ndarray, factor: int) -> np.ndarray:
    """bool (H, W) to float32 (1, H/8, W/8): 1 where less than half of a latent's pixels are known."""
    height, width = known.shape
    share = known.reshape(height // factor, factor, width // factor, factor).mean((1, 3))
    return (share < 0.5).astype(np.float32)[None]
