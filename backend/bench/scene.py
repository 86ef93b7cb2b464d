"""What all methods draw: people side by side before one background, the same at every size."""

from functools import lru_cache

from ...protocol import Refusal, RenderRequest, resized
from ..evaluation.fixed_scenes import draw_scene

SKETCH_PX = 128  # at which the people are drawn, to see who hides whose joints
SEEN_SIZES = 8  # the evaluation's first eight scenes are square, with one to eight people


@lru_cache
def bench_scene(people: int) -> RenderRequest:
    """The square scene of the evaluation with so many people, 1 to 8. Raises Refusal for another number."""
    if not 1 <= people <= SEEN_SIZES:
        raise Refusal(f"--people is {people}, but the scenes to measure with have 1 to {SEEN_SIZES}: choose one of those.")
    return draw_scene(people - 1, SKETCH_PX).request


def bench_request(people: int, width: int, height: int) -> RenderRequest:
    """That scene at another size."""
    return resized(bench_scene(people), width, height)
