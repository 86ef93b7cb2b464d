"""Sizes of the base image and of each enlargement."""

import math
from dataclasses import dataclass

from ...protocol import RenderRequest


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

    A target smaller than the base has no level: the base is then scaled down.
    """
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
