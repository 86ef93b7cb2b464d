"""The choices that a request leaves to the model set."""

# what is resolved has no defaults, though what may be left open has: pyright minds that, msgspec does not
# pyright: reportGeneralTypeIssues=false
import msgspec
from msgspec.structs import asdict, replace

from ...protocol import HiddenJoints, RenderRequest, RenderSettings, digest_of
from ..models.extras import digest_weights, gather_extras
from ..models.manifest import MANIFEST, ModelSetError
from ..models.sets import ModelSet, own_few_steps


class ResolvedSettings(RenderSettings, frozen=True, kw_only=True):
    """Settings of which none is left open."""

    steps: int
    guidance_scale: float
    controlnet_conditioning_scale: float
    guide_pose: bool
    hcp_scale: float
    few_steps: bool
    t_b: float
    hidden_joints: HiddenJoints


_LEFT_OPEN = [name for name in ResolvedSettings.__annotations__ if name != "few_steps"]  # of which a manifest has no value


def resolve_settings(settings: RenderSettings, models: ModelSet) -> ResolvedSettings:
    """`settings` with every None replaced by what the model set recommends.

    Few steps come with recommendations of their own, and with the solver that they were made for. Raises ModelSetError where
    they are asked of a set without them, and HcP layers likewise.
    """
    if isinstance(settings, ResolvedSettings):
        return settings
    own = {name: getattr(models.manifest, name) for name in _LEFT_OPEN}
    hcp_scale = models.manifest.hcp_scale if settings.hcp_scale is None else settings.hcp_scale
    if hcp_scale and "hcp" not in models.manifest.roles:
        raise ModelSetError(
            f"hcp_scale is {hcp_scale}, but the model set '{models.name}' has no HcP layers: set hcp_scale to 0, or "
            f'name their folder under "roles" in its {MANIFEST}; docs/models.md shows it.'
        )
    if settings.few_steps is None:
        settings = replace(settings, few_steps=models.has_few_steps)
        if models.has_few_steps:
            settings = replace(settings, steps=None, guidance_scale=None)
    if settings.few_steps:
        few = own_few_steps(models.manifest)
        settings = replace(settings, scheduler=few.scheduler, inpaint_strength=few.inpaint_strength)
        own |= {name: value for name in _LEFT_OPEN if (value := getattr(few, name, None)) is not None}
    return ResolvedSettings(
        **asdict(settings) | {name: value for name, value in own.items() if getattr(settings, name) is None}
    )


def resolve_request(request: RenderRequest, models: ModelSet) -> RenderRequest:
    """`request` with its settings as `resolve_settings` makes them. Raises ModelSetError likewise."""
    return replace(request, settings=resolve_settings(request.settings, models))


def resolved_settings(request: RenderRequest) -> ResolvedSettings:
    """Its settings, which `resolve_settings` has made."""
    assert isinstance(request.settings, ResolvedSettings)
    return request.settings


def background_strength(request: RenderRequest) -> float:
    """How much of the background is drawn anew in the base image, of grey or of the request's backdrop; 0 to 1."""
    settings = resolved_settings(request)
    return settings.inpaint_strength if request.backdrop is None else request.backdrop.strength or settings.t_b


def digest_making(request: RenderRequest, models: ModelSet) -> str:
    """Of all that decides on a picture: the request, weights, LoRAs, what the set leaves open, its schedule of noise."""
    request = resolve_request(request, models)
    advice = (models.manifest, request, models.schedule)
    own = digest_of(msgspec.json.encode(advice, order="deterministic"))[:16]
    return f"{digest_weights(models, gather_extras(request, models))} {own}"
