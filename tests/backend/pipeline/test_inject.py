"""High-frequency injection replaces as many pixels as it should, with pixels from near by."""

import tracemalloc

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


@pytest.mark.parametrize(("channel", "canny_high", "found"), [(0, 110, True), (0, 130, False), (2, 110, False)])
def test_an_edge_counts_from_the_upper_threshold_on_as_bright_as_it_looks(channel: int, canny_high: float, found: bool) -> None:
    """A step of 100 is one of 30 in grey, which Canny sees as 120, if it is red; of 11 if it is blue."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:, channel] = 100
    assert bool(np.ptp(detail_probability(image, RenderSettings(canny_high=canny_high)))) == found


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


@pytest.mark.parametrize("size", [Size(2728, 2048), Size(2048, 2728)])
def test_nothing_but_the_picture_and_a_narrow_field_is_as_tall_as_the_canvas(size: Size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size.height // 2 + 2, size.width // 2, 3), np.uint8)
    tracemalloc.start()
    try:
        enlarged = inject_detail(image, size, RenderSettings(canny_blur_px=0), np.random.default_rng(0))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    field_bytes = 4 * (image.size / 3 + size.height * size.width / 2)  # as it is, and as tall as the canvas
    band_bytes = 20 * inject.BAND_ROWS * size.width
    assert peak_bytes < 1.3 * enlarged.nbytes + field_bytes + band_bytes


def test_a_wide_blur_on_a_coarser_grid_is_the_same_blur() -> None:
    edges = np.zeros((512, 768), np.uint8)
    edges[200:260, 300:310] = edges[400, ::7] = 255
    coarse = inject.blur(edges, 70)
    assert coarse.shape == (256, 384)
    exact = cv2.GaussianBlur(edges.astype(np.float32), (0, 0), 70)
    assert np.abs(cv2.resize(coarse, (768, 512), interpolation=cv2.INTER_LANCZOS4) - exact).max() < 0.01 * exact.max()


def addresses(height: int, width: int) -> np.ndarray:
    """Each pixel tells its row in red and its column in green."""
    rows, columns = np.indices((height, width), np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], -1)


@pytest.mark.parametrize("size", [Size(192, 128), Size(200, 136)])
@pytest.mark.parametrize("reach", [0, 1, 4])
def test_no_pixel_comes_from_farther_away_than_allowed(size: Size, reach: int) -> None:
    settings = RenderSettings(p_base=1, p_max=1, displacement_px=reach)
    injected = inject_detail(addresses(64, 96), size, settings, np.random.default_rng(0)).astype(int)
    rows, columns = np.indices((size.height, size.width))
    for source, here, length in (
        (injected[..., 0], rows * 64 // size.height, 64),
        (injected[..., 1], columns * 96 // size.width, 96),
    ):
        away = source - here
        assert away.min() == -reach and away.max() == reach
        inside = away[(here >= reach) & (here < length - reach)]
        shares = np.bincount(inside + reach) / inside.size
        assert np.abs(shares - 1 / (2 * reach + 1)).max() < 0.02  # each as often as any other
    assert (injected[..., 2] == 0).all()


def width_of_blur(height: int, width: int, **settings: float) -> float:
    """Standard deviation, in pixels, of the chance of being replaced around one upright edge in the middle."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 255
    chance = detail_probability(image, RenderSettings(**settings))  # type: ignore[arg-type]
    profile = chance[chance.shape[0] // 2] - chance.min()
    at = np.arange(len(profile)) * width / len(profile)
    middle = (profile * at).sum() / profile.sum()
    return float(np.sqrt((profile * (at - middle) ** 2).sum() / profile.sum()))


@pytest.mark.parametrize(("height", "width"), [(128, 256), (256, 384), (384, 256), (1024, 1024)])
def test_the_blur_grows_with_the_picture(height: int, width: int) -> None:
    short = min(height, width)
    assert width_of_blur(height, width) == pytest.approx(50 * short / 1024, rel=0.05)
    assert width_of_blur(height, width, canny_blur_px=20) == pytest.approx(20 * short / 1024, rel=0.1)


def share_replaced(chequered: bool, p_base: float, p_max: float) -> np.ndarray:
    """Of a picture whose pixels all differ, in each of 8x12 blocks; chequered on the right half."""
    image = addresses(64, 96)
    if chequered:
        image[:, 48:, 2] = (np.indices((64, 48)).sum(0) // 4 % 2 * 255).astype(np.uint8)
    settings = RenderSettings(p_base=p_base, p_max=p_max, canny_low=20, canny_high=60, displacement_px=4)
    size = Size(384, 256)
    plain = inject_detail(image, size, RenderSettings(perturb="off"), np.random.default_rng(0))
    differs = (inject_detail(image, size, settings, np.random.default_rng(0)) != plain).any(-1)
    return differs.reshape(8, 32, 12, 32).mean((1, 3)) / (1 - 1 / 81)  # one in 81 is replaced by itself


@pytest.mark.parametrize(("p_base", "p_max"), [(0.2, 0.6), (0.6, 0.2), (0.05, 1.0)])
def test_between_p_base_and_p_max_of_the_pixels_are_replaced(p_base: float, p_max: float) -> None:
    flat, detailed = share_replaced(False, p_base, p_max), share_replaced(True, p_base, p_max)
    assert flat.mean() == pytest.approx(p_base, abs=0.02)  # without an edge, whatever p_max is
    assert detailed[:, :3].mean() == pytest.approx(p_base, abs=0.03)
    assert detailed[2:6, 9:11].mean() == pytest.approx(p_max, abs=0.06)
    low, high = sorted((p_base, p_max))
    assert detailed.min() > low - 0.06 and detailed.max() < high + 0.06
