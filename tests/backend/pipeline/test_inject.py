"""High-frequency injection replaces as many pixels as it should, with pixels from near by."""

import cv2
import numpy as np
import pytest
from beyondscene.backend.pipeline import inject
from beyondscene.backend.pipeline.inject import detail_probability, inject_detail
from beyondscene.backend.planning.plan import Size
from beyondscene.protocol import RenderSettings


@pytest.fixture
def picture() -> np.ndarray:
    """64x96: flat left half, chequered right half."""
    image = np.full((64, 96, 3), 90, np.uint8)
    image[:, 48:] = (np.indices((64, 48)).sum(0) // 4 % 2 * 255)[..., None]
    return image


def changed(picture: np.ndarray, settings: RenderSettings) -> np.ndarray:
    size = Size(192, 128)
    plain = inject_detail(picture, size, RenderSettings(perturb="off"), np.random.default_rng(0))
    return (inject_detail(picture, size, settings, np.random.default_rng(0)) != plain).any(-1)


def test_detail_is_replaced_more_often_than_flat_regions(picture: np.ndarray) -> None:
    probability = detail_probability(picture, RenderSettings())
    assert probability.min() == pytest.approx(0.005) and probability.max() == pytest.approx(0.1)
    assert probability[:, :24].mean() < 0.02 < 0.06 < probability[:, 72:].mean()
    share = changed(picture, RenderSettings())[:, 120:].mean()
    assert 0.02 < share <= 0.1


def test_an_edge_map_that_is_not_normalised_never_reaches_p_max(picture: np.ndarray) -> None:
    plain = detail_probability(picture, RenderSettings(normalise_edges=False))
    assert plain.min() == pytest.approx(0.005) and 0.01 < plain.max() < 0.06
    assert plain[:, :24].mean() < plain[:, 72:].mean()


def test_the_printed_comparison_replaces_nearly_everything(picture: np.ndarray) -> None:
    detailed = changed(picture, RenderSettings(perturb="paper-literal"))[:, 120:]
    assert detailed.mean() > 0.5


def test_replaced_pixels_come_from_the_smaller_picture(picture: np.ndarray) -> None:
    enlarged = inject_detail(picture, Size(192, 128), RenderSettings(p_base=1, p_max=1), np.random.default_rng(0))
    assert enlarged.shape == (128, 192, 3)
    assert set(np.unique(enlarged)) <= set(np.unique(picture))


def test_flat_picture_stays_as_it_is() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    assert (inject_detail(flat, Size(128, 128), RenderSettings(), np.random.default_rng(0)) == 128).all()


@pytest.mark.parametrize("size", [Size(192, 128), Size(200, 136)])
def test_the_picture_does_not_depend_on_the_bands(picture: np.ndarray, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inject_detail(picture, size, RenderSettings(), np.random.default_rng(0))
    monkeypatch.setattr(inject, "BAND_ROWS", 16)
    monkeypatch.setattr(inject, "DRAWN_AT_ONCE", 7)
    field = detail_probability(picture, RenderSettings())
    assert len(list(inject.enlarge_in_bands(field, size))) > 4
    assert (inject_detail(picture, size, RenderSettings(), np.random.default_rng(0)) == whole).all()


def test_a_wide_blur_on_a_coarser_grid_is_the_same_blur() -> None:
    edges = np.zeros((512, 768), np.uint8)
    edges[200:260, 300:310] = edges[400, ::7] = 255
    coarse = inject.blur(edges, 70)
    assert coarse.shape == (256, 384)
    exact = cv2.GaussianBlur(edges.astype(np.float32), (0, 0), 70)
    assert np.abs(cv2.resize(coarse, (768, 512), interpolation=cv2.INTER_LANCZOS4) - exact).max() < 0.01 * exact.max()
