"""The choices that a request leaves to the model set."""

from msgspec.structs import replace

from ...protocol import RenderSettings
from ..models.sets import Manifest


def settle(settings: RenderSettings, manifest: Manifest) -> RenderSettings:
    """`settings` with every None replaced by what the model set recommends."""
    return replace(
        settings,
        steps=manifest.steps if settings.steps is None else settings.steps,
        guidance_scale=manifest.guidance_scale if settings.guidance_scale is None else settings.guidance_scale,
        guide_pose=manifest.guide_pose if settings.guide_pose is None else settings.guide_pose,
        t_b=manifest.t_b if settings.t_b is None else settings.t_b,
    )
