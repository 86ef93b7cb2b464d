"""What `render` and `export` start from: a .blend file, a request.json, or a picture that was made before."""

import argparse
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from ...protocol import RenderRequest, check_request, load_request, resized
from ..blend import export_blend
from ..outputs import Record, read_record, restore_request


def size(text: str) -> tuple[int, int]:
    """ "1536x1024" to (1536, 1024)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size: write width x height in pixels, e.g. 1536x1024")
    return int(width), int(height)


def add_source(parser: argparse.ArgumentParser, what: str) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("source", type=Path, nargs="?", help=what)
    source.add_argument("--from-image", type=Path, metavar="OUT.png", help="a picture whose own record is to be used")
    parser.add_argument("--size", type=size, metavar="WxH", help="pixels, multiples of 8; default: the scene's own")
    parser.add_argument("--seed", type=int, help="default: the scene's own")
    parser.add_argument("--frame", type=int, help="frame of a .blend; default: the one it was saved at")


def read_source(
    asked: argparse.Namespace, record: Record | None = None, passes: Path | None = None
) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The request, checked, and its arrays by digest. Raises ValueError with one sentence.

    record: of the image, where it was read already. passes: folder for the depth and the normals of a .blend's meshes.
    """
    width, height = asked.size or (None, None)
    if passes and (asked.source is None or asked.source.suffix.lower() != ".blend"):
        raise ValueError(
            f"Depth and normals come from the meshes of a .blend, and {asked.source or asked.from_image} is none: "
            "name the .blend, or leave --passes out."
        )
    if asked.from_image is not None:
        request, arrays = restore_request(record or read_record(asked.from_image))
    elif asked.source.suffix.lower() == ".blend":
        return export_blend(asked.source, width, height, asked.seed, asked.frame, passes)
    else:
        request, arrays = load_request(asked.source)
    if width and height and (width, height) != (request.width, request.height):
        request, arrays = resized(request, width, height), {}
    if asked.seed is not None:
        request = replace(request, seed=asked.seed)
    check_request(request)
    return request, arrays
