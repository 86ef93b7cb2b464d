"""How a picture is at the scale of single pixels: sharp, without seams, alike to true ones."""

import cv2
import numpy as np

from ...protocol import RenderSettings
from ..planning.views import positions, scaled_stride

LATENT_PX = 8
_SHARP_SIGMA_PX = 1.0
_BAND_PX = 3  # about a line: how far a decoder smears a seam
_FLAT = 1e-4  # of 0 to 1: steps that nobody sees


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


def cut_patches(picture: np.ndarray, side_px: int, count: int, random: np.random.Generator) -> np.ndarray:
    """uint8 (count, side, side, 3): pieces at random places, at the picture's own resolution."""
    height, width = picture.shape[:2]
    side = min(side_px, height, width)
    tops, lefts = random.integers(height - side + 1, size=count), random.integers(width - side + 1, size=count)
    return np.stack([picture[top : top + side, left : left + side] for top, left in zip(tops, lefts, strict=True)])


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between Gaussians fitted to two sets of features (N, C), as FID (Heusel et al. 2017) has it.

    The features are the judge's, not Inception's: it tells methods apart, and compares with no published FID.
    """
    difference = one.mean(0) - other.mean(0)
    first, second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(first) + np.trace(second) - 2 * cross)
