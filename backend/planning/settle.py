"""The choices that a request leaves to the model set."""

from msgspec.structs import replace

from ...protocol import RenderSettings
from ..models.sets import Manifest, own_few_steps

_LEFT_OPEN = ("steps", "guidance_scale", "controlnet_conditioning_scale", "guide_pose", "t_b")


def settle(settings: RenderSettings, manifest: Manifest) -> RenderSettings:
    """`settings` with every None replaced by what the model set recommends.

    Few steps come with recommendations of their own, and with the solver that they were made for. Raises ModelSetError where
    they are asked of a set without them.
    """
    own = {name: getattr(manifest, name) for name in _LEFT_OPEN}
    if settings.few_steps:
        few = own_few_steps(manifest)
        settings = replace(settings, scheduler=few.scheduler, inpaint_strength=few.inpaint_strength)
        own |= {name: value for name in _LEFT_OPEN if (value := getattr(few, name, None)) is not None}
    return replace(settings, **{name: value for name, value in own.items() if getattr(settings, name) is None})
