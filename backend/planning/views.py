"""Which windows of the canvas are denoised: Algorithm 4, adaptive stride, with its slips repaired.

Repaired: the ratio of strides is s_back / s_inst (printed upside down), the share of people is taken of the view (the
paper's text; printed with the canvas), extra views are offset from the default view (printed cumulative), the masks
are united (printed as a sum), views at the border are clamped and doubles removed.
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


def fade(length: int, share: float) -> np.ndarray:
    """float32 (length, length): weights that rise from each border over `share` of the side, and are positive everywhere."""
    distance = np.minimum(np.arange(length), np.arange(length - 1, -1, -1)) + 0.5
    ramp = np.minimum(distance / max(1.0, length * share), 1).astype(np.float32)
    return ramp[:, None] * ramp[None, :]


def weigh_views(window: int, weighting: str) -> np.ndarray:
    """float32 (window, window): how much each latent of a view counts where views overlap.

    "uniform", as in Algorithm 2, leaves an edge wherever a view ends, since the views never quite agree; "feathered"
    weights reach zero there (as in Mixture of Diffusers, arXiv 2302.02412, with a tent in place of its Gaussian).
    """
    return np.ones((window, window), np.float32) if weighting == "uniform" else fade(window, 0.5)


def adaptive_views(
    people: np.ndarray, window: int, stride_background: int, stride_instance: int, beta_over: float
) -> list[View]:
    """The coarse grid, refined where people are.

    people: bool (H, W) in latents, the union of the masks.
    beta_over: a default view of which more than this share is people gets the denser views as well.
    """
    height, width = people.shape
    covered = np.zeros((height + 1, width + 1), np.int32)  # latents with people above and left of each corner
    covered[1:, 1:] = people.cumsum(0, np.int32).cumsum(1, np.int32)
    tops, lefts = (np.array(positions(length, window, stride_background)) for length in people.shape)
    bottoms, rights = tops + window, lefts + window
    inside = covered[np.ix_(bottoms, rights)] - covered[np.ix_(tops, rights)]
    inside += covered[np.ix_(tops, lefts)] - covered[np.ix_(bottoms, lefts)]
    rows, columns = np.nonzero(inside / window**2 > beta_over)
    offsets = np.arange(0, stride_background, stride_instance)
    down = np.minimum(tops[rows, None] + offsets, height - window)
    across = np.minimum(lefts[columns, None] + offsets, width - window)
    denser = down[:, :, None] * width + across[:, None, :]
    places = np.unique(np.concatenate([(tops[:, None] * width + lefts).ravel(), denser.ravel()]))  # in rows from the top left
    return list(zip((places // width).tolist(), (places % width).tolist(), strict=True))
