"""Sizes of the base image and the levels."""

from itertools import pairwise

import msgspec
import pytest
from beyondscene.backend.planning.plan import Plan, Size, last_steps, plan_sizes
from beyondscene.protocol import RenderRequest, RequestError, resized


def plan(width: int, height: int, resolution: int) -> Plan:
    return plan_sizes(RenderRequest(width=width, height=height, prompt="a city plaza"), resolution, 8)


@pytest.mark.parametrize(
    ("width", "height", "resolution", "base", "levels"),
    [
        (1536, 1024, 256, (384, 256), [(768, 512), (1536, 1024)]),
        (4096, 4096, 1024, (1024, 1024), [(2048, 2048), (4096, 4096)]),
        (7168, 4096, 1024, (1792, 1024), [(3584, 2048), (7168, 4096)]),
        (1024, 1024, 1024, (1024, 1024), []),
        (640, 480, 256, (344, 256), [(640, 480)]),
        (128, 96, 256, (344, 256), []),
        (2048, 256, 256, (2048, 256), []),
    ],
)
def test_levels_double_and_end_on_the_target(
    width: int, height: int, resolution: int, base: tuple[int, int], levels: list[tuple[int, int]]
) -> None:
    made = plan(width, height, resolution)
    assert made.base == Size(*base)
    assert list(made.levels) == [Size(*level) for level in levels]


@pytest.mark.parametrize("width", range(256, 1400, 136))
def test_no_level_grows_by_more_than_two(width: int) -> None:
    made = plan(width, 512, 256)
    sizes = [made.base, *made.levels]
    for small, large in pairwise(sizes):
        assert large.width <= 2 * small.width + 8 and large.height <= 2 * small.height + 8


def test_a_share_of_the_steps_is_at_least_one_and_loses_none_to_rounding() -> None:
    assert [last_steps(100, share) for share in (0.001, 0.29, 0.57, 1.0)] == [1, 29, 57, 100]
    assert [last_steps(steps, 0.7) for steps in (1, 8, 50)] == [1, 5, 35]


def test_whoever_would_be_lost_in_the_base_image_is_refused(two_people: RenderRequest) -> None:
    small = resized(two_people, 24, 16)  # people of 9 px
    plan_sizes(replace_size(small, 192, 128), 64, 8)
    with pytest.raises(RequestError, match=r"'Ana' span .* px, which are 2\.\d in the base image of 96x64 px.* closer"):
        plan_sizes(replace_size(small, 384, 256), 64, 8)


def replace_size(request: RenderRequest, width: int, height: int) -> RenderRequest:
    """The same joints in a larger frame."""
    return msgspec.structs.replace(request, width=width, height=height)


def test_strides_that_make_too_many_views_are_refused() -> None:
    request = RenderRequest(width=16384, height=16384, prompt="a city plaza")
    assert plan_sizes(request, 1024, 8).levels
    settings = msgspec.structs.replace(request.settings, stride_instance=1)
    with pytest.raises(RequestError, match=r"stride_instance 1 makes up to 3690241 views of 16384x16384 px.*larger stride"):
        plan_sizes(msgspec.structs.replace(request, settings=settings), 1024, 8)
