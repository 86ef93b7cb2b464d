"""The choices that a request leaves to the model set."""

from typing import Protocol

from msgspec.structs import replace

from ...protocol import RenderSettings
from ..models.sets import Manifest, own_few_steps

_LEFT_OPEN = ("steps", "guidance_scale", "controlnet_conditioning_scale", "guide_pose", "t_b")


class Recommending(Protocol):
    """A model set."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def has_few_steps(self) -> bool: ...


def settle(settings: RenderSettings, models: Recommending) -> RenderSettings:
    """`settings` with every None replaced by what the model set recommends.

    Few steps come with recommendations of their own, and with the solver that they were made for. Raises ModelSetError where
    they are asked of a set without them.
    """
    own = {name: getattr(models.manifest, name) for name in _LEFT_OPEN}
    if settings.few_steps is None:
        settings = replace(settings, few_steps=models.has_few_steps)
        if models.has_few_steps:
            settings = replace(settings, steps=None, guidance_scale=None)
    if settings.few_steps:
        few = own_few_steps(models.manifest)
        settings = replace(settings, scheduler=few.scheduler, inpaint_strength=few.inpaint_strength)
        own |= {name: value for name in _LEFT_OPEN if (value := getattr(few, name, None)) is not None}
    return replace(settings, **{name: value for name, value in own.items() if getattr(settings, name) is None})
