"""The choices that a request leaves to the model set."""

from msgspec.structs import replace

from ...protocol import RenderSettings
from ..models.sets import Manifest, own_few_steps


def settle(settings: RenderSettings, manifest: Manifest) -> RenderSettings:
    """`settings` with every None replaced by what the model set recommends.

    Few steps come with recommendations of their own, and with the solver that they were made for. Raises ModelSetError where
    they are asked of a set without them.
    """
    few = own_few_steps(manifest) if settings.few_steps else None
    if few:
        settings = replace(settings, scheduler=few.scheduler, inpaint_strength=few.inpaint_strength)
    own, t_b = few or manifest, (few and few.t_b) or manifest.t_b
    return replace(
        settings,
        steps=own.steps if settings.steps is None else settings.steps,
        guidance_scale=own.guidance_scale if settings.guidance_scale is None else settings.guidance_scale,
        guide_pose=manifest.guide_pose if settings.guide_pose is None else settings.guide_pose,
        t_b=t_b if settings.t_b is None else settings.t_b,
    )
