"""How a picture is at the scale of single pixels: sharp, without seams, alike to true ones."""

import cv2
import numpy as np

from ...protocol import RenderSettings
from ..planning.views import positions, scaled_stride

LATENT_PX = 8
_SHARP_SIGMA_PX = 1.0
_BAND_PX = 3  # about a line: how far a decoder smears a seam
_FLAT = 1e-4  # of 0 to 1: steps that nobody sees
_LEVELS, _SMALLEST_LEVEL_PX = 4, 8  # of the pyramid
_PATCHES, _PATCH_PX, _DIRECTIONS = 4096, 7, 64
_FAINTEST = 0.1  # of 255: deviations below are nobody's


def luma(picture: np.ndarray) -> np.ndarray:
    """float32 (H, W), 0 to 1."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def high_frequency_energy(picture: np.ndarray) -> float:
    """Mean square of what a blur of 1 px takes away: the finest octave that pixels can hold."""
    grey = luma(picture)
    return float(np.mean((grey - cv2.GaussianBlur(grey, (0, 0), _SHARP_SIGMA_PX)) ** 2))


def sharpness(picture: np.ndarray, true: np.ndarray) -> float:
    """High-frequency energy over that of the true picture of the same size: 1 as sharp, 0 all blurred, above 1 noisy."""
    return high_frequency_energy(picture) / max(high_frequency_energy(true), 1e-9)


def seam_score(picture: np.ndarray, window_px: int) -> float:
    """How much steeper the picture is across borders of views than across other lines: 1 where no border can be told.

    A line's steepness is taken against that of its neighbours 8 px to either side, so that a steep place of the scene counts
    for nothing; all lines lie on the grid of latents, whose own steps are then everywhere. Borders are those of the paper's
    views (default strides), whatever method made the picture; the lines they are held against leave out those of denser views.
    window_px: side of a view.
    """
    grey = luma(picture)
    borders, others = [], []
    for image in (grey, grey.T):
        steps = np.abs(image[1:] - image[:-1]).mean(1)  # [k]: from pixel k to k + 1; absolute, so that outlines do not rule
        band = np.convolve(steps, np.ones(_BAND_PX) / _BAND_PX, mode="same") + _FLAT
        coarse, fine = border_lines(len(image), window_px)
        for line in range(2 * LATENT_PX, len(image) - 2 * LATENT_PX + 1, LATENT_PX):
            beside = (band[line - 1 - LATENT_PX] + band[line - 1 + LATENT_PX]) / 2
            if line in coarse or line not in fine:
                (borders if line in coarse else others).append(np.log(band[line - 1] / beside))
    return float(np.exp(np.mean(borders) - np.mean(others))) if borders and others else 1.0


def border_lines(length_px: int, window_px: int) -> tuple[set[int], set[int]]:
    """Where views start and end along a side, px from its start: of the coarse grid, and of coarse and dense together."""
    settings, window = RenderSettings(), window_px // LATENT_PX

    def lines(stride: int) -> set[int]:
        length = length_px // LATENT_PX
        starts = positions(length, window, scaled_stride(stride, window)) if length >= window else []
        return {LATENT_PX * edge for start in starts for edge in (start, start + window)}

    coarse = lines(settings.stride_background)
    return coarse, coarse | lines(settings.stride_instance)


def patch_distance(picture: np.ndarray, true: np.ndarray, seed: int) -> float:
    """Sliced Wasserstein distance between small patches of both pictures, uint8 (H, W, 3) each; 0 where all are alike.

    As Karras et al. 2018 (arXiv 1710.10196, section 5) have it: patches of 7x7 of each level of a Laplacian pyramid, compared
    along random directions, the mean over levels. A blur empties the fine levels, noise fills them, and wrong tones show in the
    coarse one. Unlike there both are scaled by the true patches alone, so that a faint level is no match for a strong one.
    Patches are of other places in each, at random by `seed`: the true picture is not at 0 from itself, and nothing is nearer.
    """
    random = np.random.default_rng(seed)
    distances = []
    for true_level, level in zip(laplacian_pyramid(true), laplacian_pyramid(picture), strict=True):
        distances.append(wasserstein_distance(cut_patches(true_level, random), cut_patches(level, random), random))
    return float(np.mean(distances))


def laplacian_pyramid(picture: np.ndarray) -> list[np.ndarray]:
    """float32 (H, W, 3) at each scale, the finest first: what the next coarser one lacks; of the last, all."""
    levels, fine = [], picture.astype(np.float32)
    while len(levels) + 1 < _LEVELS and min(fine.shape[:2]) >= 2 * _SMALLEST_LEVEL_PX:
        coarse = cv2.pyrDown(fine)
        levels.append(fine - cv2.pyrUp(coarse, dstsize=fine.shape[1::-1]))
        fine = coarse
    return [*levels, fine]


def cut_patches(level: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """float32 (_PATCHES, _PATCH_PX, _PATCH_PX, 3) at random places."""
    within = np.arange(_PATCH_PX)
    rows, columns = (random.integers(side - _PATCH_PX + 1, size=(_PATCHES, 1)) + within for side in level.shape[:2])
    return level[rows[:, :, None], columns[:, None, :]]


def wasserstein_distance(true: np.ndarray, other: np.ndarray, random: np.random.Generator) -> float:
    """Mean over random directions of how far sorted projections lie apart, in deviations of the true patches' channels."""
    centre, scale = true.mean((0, 1, 2)), true.std((0, 1, 2)) + _FAINTEST
    directions = random.normal(size=(true[0].size, _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)

    def project(patches: np.ndarray) -> np.ndarray:
        return np.sort(((patches - centre) / scale).reshape(len(patches), -1) @ directions, axis=0)

    return float(np.abs(project(true) - project(other)).mean())
