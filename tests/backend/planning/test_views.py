"""Views cover the canvas and follow the paper's counts."""

import numpy as np
import pytest
from beyondscene.backend.planning.views import adaptive_views, grid, positions, scaled_stride, weigh_views

# pixels of the target at a 1024 px training resolution: views at stride 64 and at stride 32
PAPER_COUNTS = {
    (2048, 2048): (9, 25),
    (3584, 2048): (18, 55),
    (4096, 2048): (21, 65),
    (4096, 4096): (49, 169),
    (7168, 4096): (91, 325),
    (8192, 8192): (225, 841),
}


@pytest.mark.parametrize(("size", "counts"), PAPER_COUNTS.items())
def test_counts_are_the_papers(size: tuple[int, int], counts: tuple[int, int]) -> None:
    width, height = size[0] // 8, size[1] // 8
    nobody, everybody = np.zeros((height, width), bool), np.ones((height, width), bool)
    assert len(adaptive_views(nobody, 128, 64, 32, 0.2)) == len(adaptive_views(nobody, 128, 64, 32, 0.0)) == counts[0]
    assert adaptive_views(everybody, 128, 64, 32, 0.2) == grid(height, width, 128, 32)
    assert len(grid(height, width, 128, 32)) == counts[1]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48), (40, 100), (36, 33)])
def test_every_latent_is_in_a_view(height: int, width: int) -> None:
    covered = np.zeros((height, width), bool)
    people = np.random.default_rng(0).random((height, width)) < 0.3
    for top, left in adaptive_views(people, 32, 16, 8, 0.2):
        assert 0 <= top <= height - 32 and 0 <= left <= width - 32
        covered[top : top + 32, left : left + 32] = True
    assert covered.all()


def test_refinement_stays_where_people_are() -> None:
    people = np.zeros((64, 128), bool)
    people[:, :32] = True
    extra = set(adaptive_views(people, 32, 16, 8, 0.2)) - set(grid(64, 128, 32, 16))
    assert extra and all(left <= 32 + 8 for _, left in extra)
    assert {left for _, left in adaptive_views(people | True, 32, 16, 12, 0.2)} >= {
        0,
        12,
        16,
        28,
    }  # though 12 does not divide 16


def test_canvas_smaller_than_a_view_is_refused() -> None:
    with pytest.raises(ValueError, match="16 latents is smaller than a view of 32"):
        positions(16, 32, 8)


def test_strides_scale_with_the_view() -> None:
    assert [scaled_stride(64, window) for window in (128, 32, 8)] == [64, 16, 4]


@pytest.mark.parametrize(("weighting", "steepest"), [("uniform", 0.49), ("feathered", 0.08)])
def test_feathered_views_that_disagree_leave_no_edge(weighting: str, steepest: float) -> None:
    total, norm = np.zeros((32, 48)), np.zeros((32, 48))
    weight = weigh_views(32, weighting)
    for (top, left), shade in zip(grid(32, 48, 32, 16), (0.0, 1.0), strict=True):
        total[top : top + 32, left : left + 32] += shade * weight
        norm[top : top + 32, left : left + 32] += weight
    picture = total / norm
    assert picture[0, 0] == 0 and picture[-1, -1] == 1
    steps = np.abs(np.diff(picture, axis=1)).max()
    assert steps < steepest if weighting == "feathered" else steps > steepest
