"""Picture files: one file of this folder per format, chosen by the suffix of the name."""

from importlib import import_module
from pathlib import Path
from typing import Protocol

from ...protocol import Refusal
from ...protocol.record import (
    NO_RECORD,
    Record,
    RecordError,
    decode_record,
    encode_record,
    make_record,
    restore_request,
    weights_that_differ,
)
from ...protocol.whole import whole_file
from ..watch import PixelType
from .picture import Layer, Picture, most_bytes

__all__ = [
    "FORMATS",
    "Layer",
    "Picture",
    "Record",
    "RecordError",
    "choose_format",
    "make_record",
    "most_bytes",
    "read_record",
    "restore_request",
    "weights_that_differ",
    "write_picture",
]

FORMATS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".exr": "exr"}


class Format(Protocol):
    """What a file of this folder offers."""

    MEDIA_TYPE: str
    DTYPE: PixelType  # what its files can hold of a picture

    def write(self, path: Path, picture: Picture, record: str) -> None:
        """Write `picture` a strip or a tile at a time, so that it is never in memory twice. record: JSON, ASCII only."""
        ...

    def read(self, path: Path) -> str | None:
        """The record of the picture at `path`; None where it has none. Raises ValueError for another kind of file."""
        ...


def choose_format(path: Path) -> Format:
    """Raises Refusal where the suffix of `path` is that of no format."""
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise Refusal(f"{path.name} is no picture that can be written or read: end the name in {', '.join(FORMATS)}.")
    return import_module(f".{name}", __name__)  # type: ignore[return-value]


def write_picture(path: Path, picture: Picture, record: Record) -> None:
    """The picture is on the disk under its name, whole, when this returns; until then what stood there before is there."""
    with whole_file(path) as partial:
        choose_format(path).write(partial, picture, encode_record(record))


def read_record(path: Path) -> Record:
    """What the picture at `path` says about its making. Raises Refusal with one sentence, or OSError."""
    picture_format = choose_format(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: name a picture that was made here before.")
    try:
        text = picture_format.read(path)
    except Exception as error:  # each library raises what it likes
        raise RecordError(
            f"{path} cannot be read as a picture ({error}): name one as `beyondscene render` or the add-on has written it."
        ) from error
    if text is None:
        raise RecordError(f"{path} {NO_RECORD}")
    return decode_record(text, path)
