"""What all methods draw: people side by side before one background, the same at every size."""

from functools import lru_cache

from ...protocol import RenderRequest, resized
from ..evaluation.fixed_scenes import draw_scene

SKETCH_PX = 128  # at which the people are drawn, to see who hides whose joints


@lru_cache
def bench_scene(people: int) -> RenderRequest:
    """The square scene of the evaluation with so many people, 1 to 8: its first eight scenes."""
    return draw_scene(people - 1, SKETCH_PX).request


def bench_request(people: int, width: int, height: int) -> RenderRequest:
    """That scene at another size."""
    return resized(bench_scene(people), width, height)
