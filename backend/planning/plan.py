"""Sizes of the base image and of each enlargement, and how many steps each takes."""

import math
from dataclasses import dataclass

from ...protocol import RenderRequest, RequestError, span_px
from .views import positions, scaled_stride

MOST_VIEWS = 1_000_000  # of one canvas: listing them takes some seconds, drawing them the best of GPUs weeks
LEAST_PX = 4  # a person's taller side in the base image: whoever is smaller is lost there


@dataclass(frozen=True)
class Size:
    """Pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """base: the size at which the scene is composed. levels: the size after each enlargement, smallest first."""

    base: Size
    levels: tuple[Size, ...]


def plan_sizes(request: RenderRequest, training_resolution_px: int, latent_downsampling: int) -> Plan:
    """The base has the training resolution as its short side; each level doubles, the last one lands on the target.

    A target smaller than the base has no level: the base is then scaled down. Raises RequestError for somebody who would be
    too small in the base image, and for strides that make too many views.
    """
    plan = _plan(request, training_resolution_px, latent_downsampling)
    window = training_resolution_px // latent_downsampling
    stride = scaled_stride(request.settings.stride_instance, window)
    largest = (plan.base, *plan.levels)[-1]
    rows, columns = (len(positions(side // latent_downsampling, window, stride)) for side in (largest.height, largest.width))
    if rows * columns > MOST_VIEWS:
        raise RequestError(
            f"stride_instance {request.settings.stride_instance} makes up to {rows * columns} views of {largest.width}x"
            f"{largest.height} px, above the limit of {MOST_VIEWS}: choose a larger stride, or a smaller picture."
        )
    for character in request.characters:
        span = span_px(character.keypoints)
        base_px = span * plan.base.height / request.height
        if base_px < LEAST_PX:
            raise RequestError(
                f"The joints of '{character.name}' span {span:.0f} px, which are {base_px:.1f} in the base image of "
                f"{plan.base.width}x{plan.base.height} px, but whoever has under {LEAST_PX} there is lost: move the camera "
                "closer, or switch the character off."
            )
    return plan


def last_steps(steps: int, strength: float) -> int:
    """How many of `steps` a schedule's last part has, 0 to 1 of it: at least one, and 29 of 100 for 0.29, though their product
    is a hair less."""
    return max(1, min(steps, int(steps * strength + 1e-9)))


def _plan(request: RenderRequest, training_resolution_px: int, latent_downsampling: int) -> Plan:
    target = Size(request.width, request.height)
    growth = min(target.width, target.height) / training_resolution_px

    def at(scale: float) -> Size:
        def side(length: int) -> int:
            return max(training_resolution_px, round(length * scale / latent_downsampling) * latent_downsampling)

        return Size(side(target.width), side(target.height))

    if growth <= 1:
        return Plan(at(1 / growth), ())
    doublings = math.ceil(math.log2(growth) - 1e-9)
    between = tuple(at(2**level / growth) for level in range(1, doublings))
    return Plan(at(1 / growth), (*between, target))
