"""TIFF, 8 bit, deflated tiles; BigTIFF where the offsets of a plain one would not do. The record is the ImageDescription."""

import logging
from pathlib import Path

import numpy as np
import tifffile

from .picture import Picture, thread_count
from .xmp import XMP

MEDIA_TYPE = "image/tiff"
DTYPE = np.uint8
TILE = 256
XMP_TAG, BYTE = 700, 1
CLASSIC_LIMIT_BYTES = 2**32 - 2**26  # deflate may lengthen what has no pattern; the rest is for tags

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its warnings would come before our own sentence


def write(path: Path, picture: Picture, record: str) -> None:
    image = picture.image
    with tifffile.TiffWriter(path, bigtiff=image.nbytes > CLASSIC_LIMIT_BYTES) as file:
        file.write(
            image,
            photometric="rgb",
            tile=(TILE, TILE),
            compression="zlib",
            predictor=True,
            description=record.replace('"shape":', '"shape" :'),  # of a mask: tifffile would take it for its own metadata
            metadata=None,  # tifffile's own, which would take the place of the description
            software="beyondscene",
            extratags=[(XMP_TAG, BYTE, len(XMP), XMP, True)],
            maxworkers=thread_count(),
        )


def read(path: Path) -> str | None:
    with tifffile.TiffFile(path) as file:
        text = file.pages.first.description
    return text if text.startswith("{") else None
