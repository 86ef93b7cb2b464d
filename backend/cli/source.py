"""What `render` and `export` start from: a .blend file, a request.json, or a picture that was made before."""

import argparse
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from ...protocol import Refusal, RenderRequest, check_request, load_request, resized
from ..blend import export_blend
from ..outputs import Record, read_record, restore_request
from .arguments import seed, size


def add_source(parser: argparse.ArgumentParser, what: str) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("source", type=Path, nargs="?", help=what)
    source.add_argument("--from-image", type=Path, metavar="OUT.png", help="a picture whose own record is to be used")
    parser.add_argument("--size", type=size, metavar="WxH", help="pixels, multiples of 8; default: the scene's own")
    parser.add_argument("--seed", type=seed, help="default: the scene's own")
    parser.add_argument("--frame", type=int, help="frame of a .blend; default: the one it was saved at")


def read_source(
    asked: argparse.Namespace, record: Record | None = None, passes: Path | None = None
) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The request, checked, and its arrays by digest. Raises Refusal with one sentence.

    record: of the image, where it was read already. passes: folder for the depth and the normals of a .blend's meshes.
    """
    width, height = asked.size or (None, None)
    source: Path = asked.source or asked.from_image
    if asked.source and source.suffix.lower() == ".blend":
        return export_blend(source, width, height, asked.seed, asked.frame, passes)
    refuse_what_a_blend_has(asked, source, passes)
    if asked.source:
        request, arrays = load_request(source)
    else:
        request, arrays = restore_request(record or read_record(source))
    if width and height and (width, height) != (request.width, request.height):
        request, arrays = resized(request, width, height), {}
    if asked.seed is not None:
        request = replace(request, seed=asked.seed)
    check_request(request)
    return request, arrays


def refuse_what_a_blend_has(asked: argparse.Namespace, source: Path, passes: Path | None) -> None:
    """Raise Refusal for an option that would be of no effect, as there is no .blend."""
    if passes:
        raise Refusal(
            f"Depth and normals come from the meshes of a .blend, and {source} is none: name the .blend, or leave --passes out."
        )
    if asked.frame is not None:
        raise Refusal(f"A frame is one of a .blend, and {source} is none: name the .blend, or leave --frame out.")
