"""What joint diffusion runs with."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel

from ...protocol import RenderRequest
from ..models.load import Models
from ..planning.resolve import resolved_settings
from .prompts import PromptEncoder
from .schedule import Scheduler, make_scheduler


@dataclass(frozen=True)
class Sampler:
    """What is denoised and how.

    unet: the base model's, or an inpainting model's with more channels (see `extra`).
    extra: (1 + C, h, w) mask and masked latents that such a UNet sees beside the noisy ones, (C, h, w), else None.
    controlnet_scale: 0 leaves the ControlNet out.
    guide_pose: whether the negative prompt goes without the pose, so that guidance points to both prompt and pose.
    hcp_scale: weight of the HcP layers' attention, where the base model has them.
    view_weighting: how views that overlap are averaged, as in RenderSettings.
    canvas_px: height and width that views are told to be crops of ("canvas" conditioning, as DemoFusion does), or None:
        each view is told to be a whole picture of the training resolution.
    controlnet_views, guidance_interval, background_every: as in RenderSettings; the defaults leave nothing out.
    after_step: called with (latents, index of the next timestep, or how many there are at the end), returns the latents to go
        on with; inpainting puts the known part back here.
    """

    models: Models
    unet: UNet2DConditionModel
    encoder: PromptEncoder
    scheduler: Scheduler
    timesteps: torch.Tensor
    guidance_scale: float
    controlnet_scale: float
    guide_pose: bool = False
    hcp_scale: float = 0.0
    view_weighting: str = "uniform"
    canvas_px: tuple[int, int] | None = None
    extra: torch.Tensor | None = None
    controlnet_views: str = "all"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    background_every: int = 1
    after_step: Callable[[torch.Tensor, int], torch.Tensor] = field(default=lambda latents, _: latents)


def make_sampler(models: Models, request: RenderRequest, encoder: PromptEncoder, strength: float = 1.0) -> Sampler:
    """What every sampler has, with the base UNet and a fresh scheduler; whatever else it needs is put in by `replace`.

    request: with its settings resolved. strength: as of make_scheduler.
    """
    settings = resolved_settings(request)
    scheduler, timesteps = make_scheduler(models, settings.scheduler, settings.steps, strength, trailing=settings.few_steps)
    return Sampler(
        models=models,
        unet=models.unet,
        encoder=encoder,
        scheduler=scheduler,
        timesteps=timesteps,
        guidance_scale=settings.guidance_scale,
        controlnet_scale=settings.controlnet_conditioning_scale,
        guide_pose=settings.guide_pose,
        hcp_scale=settings.hcp_scale,
    )
