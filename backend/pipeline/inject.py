"""Stage 2: enlarge a picture and inject high frequencies where it has detail (Algorithm 1).

The enlarged picture is all that is as large as the canvas: everything else is made for some rows at a time.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from ...protocol import RenderSettings
from ..planning.plan import Size

PAPER_SHORT_SIDE_PX = 1024
BAND_ROWS = 256
FINE_SIGMA_PX = 32  # a blur twice as wide or more is done on a coarser grid
DRAWN_AT_ONCE = 2**20


def inject_detail(image: np.ndarray, size: Size, settings: RenderSettings, random: np.random.Generator) -> np.ndarray:
    """`image` enlarged to `size`, some pixels of detailed regions replaced by near ones of the smaller picture.

    Diffusion that starts from a plainly enlarged picture stays blurred; displaced pixels give it the high
    frequencies from which it makes detail. Repaired slips: the probability map is enlarged (printed: the blurred
    edge map), and indices are clamped to the last pixel (printed: one beyond).

    image: uint8 (H, W, 3). returns: uint8 (size.height, size.width, 3).
    """
    enlarged = cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LANCZOS4)
    if settings.perturb == "off":
        return enlarged
    chosen, count = [], 0  # where pixels are replaced, a bit each
    for probability in enlarge_in_bands(detail_probability(image, settings), size):
        chance = random.random(probability.shape)
        replaced = chance < probability if settings.perturb == "probability" else chance > probability
        chosen.append(np.packbits(replaced, 1))
        count += int(np.count_nonzero(replaced))
    reach, (height, width) = settings.displacement_px, image.shape[:2]
    # rows at once, a byte each, then columns by bands: drawn band by band both would depend on how tall a band is
    rows_away = draw_displacements(random, reach, count)
    top, first = 0, 0
    for bits in chosen:
        rows, columns = np.nonzero(np.unpackbits(bits, 1, count=size.width))
        end = first + len(rows)
        source_rows = (rows + top) * height // size.height + rows_away[first:end]
        source_columns = columns * width // size.width + draw_displacements(random, reach, len(rows))
        enlarged[rows + top, columns] = image[source_rows.clip(0, height - 1), source_columns.clip(0, width - 1)]
        top, first = top + len(bits), end
    return enlarged


def detail_probability(image: np.ndarray, settings: RenderSettings) -> np.ndarray:
    """float32, of the picture's proportions: from p_base where it is flat to p_max where it has most edges.

    The blur is the paper's 50 px at a short side of 1024, scaled with the picture. The paper says "normalised" and not how:
    here to its own range, or not at all; then it never passes a third, and p_max is never reached.
    """
    edges = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), settings.canny_low, settings.canny_high)
    blurred = blur(edges, settings.canny_blur_px * min(image.shape[:2]) / PAPER_SHORT_SIDE_PX)
    span, low = (float(np.ptp(blurred)), float(blurred.min())) if settings.normalise_edges else (255.0, 0.0)
    share = (blurred - low) / span if span > 0 else np.zeros_like(blurred)
    return (settings.p_max - settings.p_base) * share + settings.p_base


def blur(edges: np.ndarray, sigma_px: float) -> np.ndarray:
    """uint8 (H, W) to float32, Gaussian; of a wide blur every 2nd, 4th, ... row and column, which say it all.

    The cost of a blur grows with the cube of the picture's side: at 8192x8192, minutes without the coarser grid.
    """
    coarser = 2 ** max(0, int(math.log2(max(sigma_px, 1) / FINE_SIGMA_PX)))
    if coarser > 1:
        height, width = edges.shape
        edges = cv2.resize(edges, (width // coarser, height // coarser), interpolation=cv2.INTER_AREA)
        sigma_px = math.sqrt(sigma_px**2 - (coarser**2 - 1) / 12) / coarser  # the mean over cells is a blur, too
    field = edges.astype(np.float32)
    return field if sigma_px == 0 else cv2.GaussianBlur(field, (0, 0), sigma_px)


def enlarge_in_bands(field: np.ndarray, size: Size) -> Iterator[np.ndarray]:
    """`field` (h, w) at `size` by Lanczos, BAND_ROWS at a time, from the top.

    It is made taller at once, since it is narrow (see `blur`), and wider band by band: so no band needs rows of another,
    whatever the sizes.
    """
    tall = cv2.resize(field, (field.shape[1], size.height), interpolation=cv2.INTER_LANCZOS4)
    for top in range(0, size.height, BAND_ROWS):
        band = tall[top : top + BAND_ROWS]
        yield cv2.resize(band, (size.width, len(band)), interpolation=cv2.INTER_LANCZOS4)


def draw_displacements(random: np.random.Generator, reach: int, count: int) -> np.ndarray:
    """int8 (count,) from -reach to reach."""
    drawn = np.empty(count, np.int8)
    for first in range(0, count, DRAWN_AT_ONCE):
        part = drawn[first : first + DRAWN_AT_ONCE]
        part[:] = random.integers(-reach, reach, len(part), endpoint=True)
    return drawn
