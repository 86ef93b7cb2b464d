"""Stage 4a: enlarge a picture and inject high frequencies where it has detail (Algorithm 1)."""

import cv2
import numpy as np

from ...protocol import RenderSettings
from ..planning.plan import Size

PAPER_SHORT_SIDE_PX = 1024


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
    probability = cv2.resize(detail_probability(image, settings), (size.width, size.height), interpolation=cv2.INTER_LANCZOS4)
    chance = random.random((size.height, size.width))
    replaced = chance < probability if settings.perturb == "probability" else chance > probability
    rows, columns = np.nonzero(replaced)
    reach = settings.displacement_px
    height, width = image.shape[:2]
    source_rows = rows * height // size.height + random.integers(-reach, reach, len(rows), endpoint=True)
    source_columns = columns * width // size.width + random.integers(-reach, reach, len(rows), endpoint=True)
    enlarged[rows, columns] = image[source_rows.clip(0, height - 1), source_columns.clip(0, width - 1)]
    return enlarged


def detail_probability(image: np.ndarray, settings: RenderSettings) -> np.ndarray:
    """float32 (H, W) from p_base where the picture is flat to p_max where it has most edges.

    The blur is the paper's 50 px at a short side of 1024, scaled with the picture. The paper says "normalised" and not how:
    here to its own range, or not at all; then it never passes a third, and p_max is never reached.
    """
    edges = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), settings.canny_low, settings.canny_high)
    sigma = settings.canny_blur_px * min(image.shape[:2]) / PAPER_SHORT_SIDE_PX
    blurred = edges.astype(np.float32) if sigma == 0 else cv2.GaussianBlur(edges.astype(np.float32), (0, 0), sigma)
    span, low = (float(np.ptp(blurred)), float(blurred.min())) if settings.normalise_edges else (255.0, 0.0)
    share = (blurred - low) / span if span > 0 else np.zeros_like(blurred)
    return (settings.p_max - settings.p_base) * share + settings.p_base
