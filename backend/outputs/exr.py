"""OpenEXR, half float: the picture in scene-linear light, and one layer per person.

Layers are "person_001_<id>", "person_002_<id>", ..., near to far, with the one channel A: how much of a pixel is that person, 0
to 1. In the id all but ASCII letters, digits, _ and - is replaced by _. No name has a dot: Blender takes what stands before it
for a layer that hides the picture.
The layer "depth_order" has the one channel Z: the number of the layer whose person is seen there, 0 where nobody is.
"""

import errno
import os
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import cv2
import Imath
import numpy as np
import OpenEXR

from ...protocol.record_text import EXR_ATTRIBUTE
from ...protocol.record_text import read_text as read
from .picture import Layer, Picture, thread_count
from .xmp import XMP

__all__ = ["DTYPE", "MEDIA_TYPE", "read", "write"]

MEDIA_TYPE = "image/x-exr"
DTYPE = np.uint16
BAND_ROWS = 64  # a multiple of the 16 rows that are compressed together
LONGEST_ID = 40  # Blender reads 63 bytes of a channel's name
DEPTH_ORDER = "depth_order.Z"


def write(path: Path, picture: Picture, record: str) -> None:
    height, width = picture.image.shape[:2]
    names = [channel_name(rank, layer) for rank, layer in enumerate(picture.layers, 1)]
    half = Imath.Channel(Imath.PixelType(Imath.PixelType.HALF))
    header = OpenEXR.Header(width, height)
    header["channels"] = dict.fromkeys([*"RGB", *names, *([DEPTH_ORDER] if names else [])], half)
    header[EXR_ATTRIBUTE.decode()], header["xmp"] = record.encode(), XMP
    header["colorInteropID"] = b"lin_rec709_scene"  # what a file without `chromaticities` is in any case, said by its name
    OpenEXR.set_global_thread_count(thread_count())
    try:
        with closing(OpenEXR.OutputFile(str(path), header)) as file:
            write_bands(file, picture, names)
    except OSError as error:  # the library tells the cause in words only
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), str(path)) from error
        raise


def write_bands(file: OpenEXR.OutputFile, picture: Picture, names: Sequence[str]) -> None:
    """names: of the people's channels."""
    height, width = picture.image.shape[:2]
    linear = linear_light(picture.image.dtype)
    for first in range(0, height, BAND_ROWS):
        end = min(first + BAND_ROWS, height)
        light = linear[picture.image[first:end]]
        rows = {name: light[..., index].tobytes() for index, name in enumerate("RGB")}
        for name, layer in zip(names, picture.layers, strict=True):
            rows[name] = stretch_rows(layer.mask, height, width, first, end).astype(np.float16).tobytes()
        if names:
            rows[DEPTH_ORDER] = depth_order(picture.layers, height, width, first, end).tobytes()
        file.writePixels(rows, end - first)


def linear_light(dtype: np.dtype) -> np.ndarray:
    """float16, by the numbers that `dtype` has for sRGB (IEC 61966-2-1): the light, 0 to 1."""
    codes = np.linspace(0, 1, np.iinfo(dtype).max + 1)
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4).astype(np.float16)


def depth_order(layers: Sequence[Layer], height: int, width: int, first: int, end: int) -> np.ndarray:
    """float16 (end - first, width): 1 where the nearest person is seen, 2 the next, ..., 0 where nobody is."""
    order = np.zeros((end - first, width), np.float16)
    for rank, layer in enumerate(layers, 1):
        order[repeat_rows(layer.mask, height, width, first, end)] = rank  # masks are disjoint
    return order


def repeat_rows(field: np.ndarray, height: int, width: int, first: int, end: int) -> np.ndarray:
    """Rows `first` to `end` of `field` (h, w) at (height, width), each pixel that of the place it lies in."""
    rows = np.arange(first, end) * field.shape[0] // height
    columns = np.arange(width) * field.shape[1] // width
    return field[np.ix_(rows, columns)]


def stretch_rows(mask: np.ndarray, height: int, width: int, first: int, end: int) -> np.ndarray:
    """Rows `first` to `end` of `mask` (h, w) at (height, width), bilinear: float32 (end - first, width), 0 to 1."""
    at = (np.arange(first, end) + 0.5) * mask.shape[0] / height - 0.5
    above = np.clip(np.floor(at).astype(int), 0, mask.shape[0] - 1)
    below = np.minimum(above + 1, mask.shape[0] - 1)
    share = np.clip(at - above, 0, 1).astype(np.float32)[:, None]
    rows = mask[above] * (1 - share) + mask[below] * share
    return cv2.resize(rows, (width, end - first), interpolation=cv2.INTER_LINEAR)


def channel_name(rank: int, layer: Layer) -> str:
    """Unique by its number, so that an id may be shortened, and rid of what programs take for parts of a name."""
    name = re.sub("[^A-Za-z0-9_-]", "_", layer.name)
    return f"person_{rank:03d}_{name[:LONGEST_ID]}.A"
