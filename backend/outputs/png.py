"""PNG, 8 bit: written a band of rows at a time, by several threads, which no library at hand does.

Chunk layout: W3C PNG specification, third edition. The record is the text "beyondscene". The bands are deflated apart, as pigz
does it: each one knows the end of the one before it and ends on a whole byte, so that together they are one stream (RFC 1950).
"""

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...protocol.record_text import PNG_KEYWORD, PNG_SIGNATURE
from ...protocol.record_text import read_text as read
from .picture import Picture, thread_count
from .xmp import XMP

__all__ = ["DTYPE", "MEDIA_TYPE", "read", "write"]

MEDIA_TYPE = "image/png"
DTYPE = np.uint8
BAND_BYTES = 2**19  # of pixels that a thread deflates at once
PIECE_BYTES = 2**16  # that it filters at once, which takes some twenty times as much
LEVEL = 3  # of zlib; 6 saves 8 % and takes four times as long
ZLIB_HEADER = b"\x78\x5e"  # deflate, window of 32 KiB, level 2 to 5
WINDOW_BYTES = 2**15
PAETH = 4


def write(path: Path, picture: Picture, record: str) -> None:
    height, width = picture.image.shape[:2]
    with path.open("wb") as file:
        file.write(PNG_SIGNATURE)
        write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))  # 8 bit RGB, not interlaced
        write_chunk(file, b"sRGB", b"\0")  # perceptual
        write_chunk(file, b"iTXt", international_text(b"XML:com.adobe.xmp", XMP))
        write_chunk(file, b"iTXt", international_text(PNG_KEYWORD, record.encode()))
        checksum, data = 1, ZLIB_HEADER
        for body, raw in deflated_bands(picture.image):
            write_chunk(file, b"IDAT", data + body)
            checksum, data = zlib.adler32(raw, checksum), b""
        write_chunk(file, b"IDAT", struct.pack(">I", checksum))
        write_chunk(file, b"IEND", b"")


def deflated_bands(image: np.ndarray) -> Iterator[tuple[bytes, bytes]]:
    """Each band deflated, and as it was before. One more is under way than there are threads."""
    count, rows = thread_count(), max(1, BAND_BYTES // image[0].nbytes)
    waiting: deque[Future[tuple[bytes, bytes]]] = deque()
    with ThreadPoolExecutor(count) as threads:
        for first in range(0, len(image), rows):
            waiting.append(threads.submit(deflate_band, image, first, min(first + rows, len(image))))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def deflate_band(image: np.ndarray, first: int, end: int) -> tuple[bytes, bytes]:
    """The band of rows `first` to `end`: its part of a stream of raw deflate, and the filtered rows themselves."""
    row_bytes = 1 + image[0].nbytes
    known = min(first, -(-WINDOW_BYTES // row_bytes))  # rows that deflate looks back to
    step = max(1, PIECE_BYTES // image[0].nbytes)
    pieces = ((at, min(at + step, end)) for at in range(first - known, end, step))
    filtered = b"".join(filter_rows(image, *piece).tobytes() for piece in pieces)
    before, raw = filtered[: known * row_bytes], filtered[known * row_bytes :]
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before[-WINDOW_BYTES:])
    body = deflate.compress(raw)
    return body + deflate.flush(zlib.Z_FINISH if end == len(image) else zlib.Z_SYNC_FLUSH), raw


def filter_rows(image: np.ndarray, first: int, end: int) -> np.ndarray:
    """uint8 (end - first, 1 + 3 W): those rows of uint8 (H, W, 3) as differences to what Paeth's filter expects.

    On rendered pictures it is the filter that libpng's search chooses for nearly every row.
    """
    band = image[first:end]
    above = image[first - 1 : first] if first else np.zeros_like(image[:1])
    up = np.concatenate([above, band[:-1]]).astype(np.int16)
    left, up_left = (np.pad(field[:, :-1], ((0, 0), (1, 0), (0, 0))).astype(np.int16) for field in (band, up))
    towards_left, towards_up, towards_both = abs(up - up_left), abs(left - up_left), abs(left + up - 2 * up_left)
    expected = np.where(towards_up <= towards_both, up, up_left)
    expected = np.where((towards_left <= towards_up) & (towards_left <= towards_both), left, expected)
    rows = (band - expected.astype(np.uint8)).reshape(len(band), -1)
    return np.pad(rows, ((0, 0), (1, 0)), constant_values=PAETH)


def international_text(keyword: bytes, text: bytes) -> bytes:
    """The body of an iTXt chunk, not compressed: Pillow refuses files whose compressed texts exceed 1 MiB."""
    return keyword + b"\0" + b"\0\0" + b"\0" + b"\0" + text  # no compression; no language, no translated keyword


def write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)))
    file.write(kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
