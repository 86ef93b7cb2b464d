"""The last step: for targets that no level lands on, and for pictures without levels in more than 8 bits."""

import cv2
import numpy as np

from ..watch import PixelType


def fit(image: np.ndarray, width: int, height: int, dtype: PixelType = np.uint8) -> np.ndarray:
    """`image`, uint8 or `dtype` (H, W, 3), at exactly `width` and `height` pixels in `dtype`; untouched if it is."""
    if image.dtype != dtype:
        image = image.astype(dtype) * dtype(np.iinfo(dtype).max // np.iinfo(np.uint8).max)
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
