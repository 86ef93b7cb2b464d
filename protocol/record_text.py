"""Where the files of pictures hold their record: found without an imaging library, for Blender has none that could.

Not even where there is one: Pillow takes a picture of 16384x16384 for an attack.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KEYWORD = b"beyondscene"  # of the text that is the record
EXR_SIGNATURE = struct.pack("<i", 20000630)
EXR_ATTRIBUTE = b"beyondscene"  # whose value is the record
RECORD_LIMIT_BYTES = 128 * 2**20  # an array of 64 MiB that nothing makes smaller takes 86 in base64
NAME_LIMIT_BYTES = 255  # of an attribute in OpenEXR
DAMAGED = "its header is damaged or cut off"


def read_text(path: Path) -> str | None:
    """The record's text in a PNG or an OpenEXR; None where it has none. Raises ValueError for another kind of file."""
    with path.open("rb") as file:
        return find_text(file)


def find_text(file: BinaryIO) -> str | None:
    """The same of an open file."""
    signature = file.read(len(PNG_SIGNATURE))
    if signature == PNG_SIGNATURE:
        return find_png_text(file)
    if signature.startswith(EXR_SIGNATURE):
        text = next((value for name, value in exr_attributes(file) if name == EXR_ATTRIBUTE), None)
        return None if text is None else text.decode()
    raise ValueError("it is neither a PNG nor an OpenEXR file")


def find_png_text(file: BinaryIO) -> str | None:
    """Compressed or not. file: behind its signature."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind != b"iTXt" or length > RECORD_LIMIT_BYTES:
            file.seek(length + 4, 1)
            continue
        chunk = file.read(length + 4)
        keyword, _, rest = chunk[:-4].partition(b"\0")
        if keyword == PNG_KEYWORD:
            if zlib.crc32(chunk[:-4], zlib.crc32(kind)) != int.from_bytes(chunk[-4:]):
                raise ValueError("its record is damaged or cut off")
            text = rest[2:].split(b"\0", 2)[2]
            return (zlib.decompressobj().decompress(text, RECORD_LIMIT_BYTES) if rest[0] else text).decode()
    return None


def exr_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height in px of an OpenEXR. Raises ValueError for another kind of file."""
    if file.read(8)[:4] == EXR_SIGNATURE:
        for name, value in exr_attributes(file):
            if name == b"dataWindow":
                left, top, right, bottom = struct.unpack("<4i", value)
                return right + 1 - left, bottom + 1 - top
    raise ValueError("it is no OpenEXR file")


def exr_attributes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of the header, as OpenEXR's "File Layout" has it. file: behind its signature and version."""
    while name := read_name(file):
        read_name(file)  # of its type
        length = int.from_bytes(file.read(4), "little", signed=True)
        if not 0 <= length <= RECORD_LIMIT_BYTES:
            raise ValueError(f"its attribute {name!r} has {length} bytes")
        value = file.read(length)
        if len(value) < length:
            raise ValueError(DAMAGED)
        yield name, value


def read_name(file: BinaryIO) -> bytes:
    """Up to its end, a 0."""
    name = b""
    while (one := file.read(1)) != b"\0":
        name += one
        if not one or len(name) > NAME_LIMIT_BYTES:
            raise ValueError(DAMAGED)
    return name
