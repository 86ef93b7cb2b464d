"""Stage 1: one light and tone over people that were drawn apart."""

import cv2
import numpy as np


def normalise_tone(image: np.ndarray, clip_limit: float, tiles: int) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation on L of Lab (paper, section 3.2; Fig. 10).

    image: uint8 (H, W, 3), RGB. clip_limit: 0 leaves the image as it is. tiles: histogram tiles along each side.
    """
    if clip_limit == 0:
        return image
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
