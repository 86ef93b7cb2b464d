"""Which windows of the canvas are denoised: Algorithm 4, adaptive stride, with its slips repaired.

Repaired: the ratio of strides is s_back / s_inst (printed upside down), the share of people is taken of the view (the
paper's text; printed with the canvas), extra views are offset from the default view (printed cumulative, and one
too many), the masks are united (printed as a sum), views at the border are clamped and doubles removed.
"""

import numpy as np

View = tuple[int, int]  # top, left, in latents; all views of a canvas have the model's training size


def positions(length: int, window: int, stride: int) -> list[int]:
    """Starts of windows that cover `length`; the last one ends at the border. Raises ValueError if none fits."""
    if length < window:
        raise ValueError(f"a canvas of {length} latents is smaller than a view of {window}")
    return sorted({*range(0, length - window + 1, stride), length - window})


def grid(height: int, width: int, window: int, stride: int) -> list[View]:
    """Views in rows from the top left; every latent is in at least one."""
    return [(top, left) for top in positions(height, window, stride) for left in positions(width, window, stride)]


def scaled_stride(stride: int, window: int) -> int:
    """A stride that the paper gives for a view of 128 latents, for a view of `window` latents."""
    return max(1, round(stride * window / 128))


def weigh_views(window: int, weighting: str) -> np.ndarray:
    """float32 (window, window): how much each latent of a view counts where views overlap.

    "uniform", as in Algorithm 2, leaves an edge wherever a view ends, since the views never quite agree; "feathered"
    weights fall to nearly zero there (as in Mixture of Diffusers, arXiv 2302.02412, with a tent in place of its Gaussian).
    """
    if weighting == "uniform":
        return np.ones((window, window), np.float32)
    distance = np.minimum(np.arange(window), np.arange(window - 1, -1, -1)) + 0.5  # never zero: somebody must count at a rim
    tent = np.minimum(distance / max(1.0, window / 2), 1).astype(np.float32)
    return tent[:, None] * tent[None, :]


def adaptive_views(
    people: np.ndarray, window: int, stride_background: int, stride_instance: int, beta_over: float
) -> list[View]:
    """The coarse grid, refined where people are.

    people: bool (H, W) in latents, the union of the masks.
    beta_over: a default view of which more than this share is people gets the denser views as well.
    """
    height, width = people.shape
    covered = np.zeros((height + 1, width + 1), np.int32)  # people's latents above and left of a corner
    people.cumsum(1, out=covered[1:, 1:])
    covered.cumsum(0, out=covered)
    starts = (positions(length, window, stride_background) for length in people.shape)
    top, left = (axis.ravel() for axis in np.meshgrid(*starts, indexing="ij"))
    bottom, right = top + window, left + window
    inside = covered[bottom, right] - covered[top, right] - covered[bottom, left] + covered[top, left]
    dense = inside / window**2 > beta_over
    offsets = range(0, stride_background, stride_instance)
    down, across = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
    tops = np.append(top, np.minimum(top[dense, None] + down, height - window))
    lefts = np.append(left, np.minimum(left[dense, None] + across, width - window))
    rows, columns = np.divmod(np.unique(tops * width + lefts), width)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
