"""Tone is normalised in lightness alone."""

import cv2
import numpy as np
import pytest
from beyondscene.backend.pipeline.tone import normalise_tone


@pytest.fixture
def picture() -> np.ndarray:
    """128x192 of muted colours in a narrow range of lightness, red on the left, blue on the right."""
    rows, columns = np.mgrid[:128, :192] / 192
    colours = np.stack([130 - 40 * columns, 90 + 20 * rows, 80 + 60 * columns], -1)
    return (colours + np.random.default_rng(0).normal(0, 4, colours.shape)).round().astype(np.uint8)


def lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(int)


@pytest.mark.parametrize(("clip_limit", "tiles"), [(2.0, 8), (2.0, 2), (8.0, 8)])
def test_lightness_is_equalised_in_tiles_and_colours_stay(picture: np.ndarray, clip_limit: float, tiles: int) -> None:
    normalised = normalise_tone(picture, clip_limit, tiles)
    before, after = lab(picture), lab(normalised)
    equalised = cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(before[..., 0].astype(np.uint8))
    inside = ((normalised > 0) & (normalised < 255)).all(-1)  # beyond, a colour cannot be kept
    assert inside.mean() > 0.95
    off = np.abs(after - np.dstack([equalised, before[..., 1:]]))[inside]
    assert off.max() <= 3 and off.mean() < 0.6
    assert after[..., 0].std() > 1.3 * before[..., 0].std()


def test_no_limit_leaves_the_picture_as_it_is(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(normalise_tone(picture, 0, 8), picture)


def test_a_higher_limit_gives_more_contrast(picture: np.ndarray) -> None:
    contrast = [lab(normalise_tone(picture, clip_limit, 4))[..., 0].std() for clip_limit in (0, 1, 3, 9)]
    assert contrast == sorted(contrast) and contrast[-1] > 1.5 * contrast[0]
