"""Write the render request of a .blend file, for reading, editing and rendering elsewhere."""

import argparse
from pathlib import Path

from ...protocol import save_request
from . import DONE
from .source import add_source, read_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser, "SCENE.blend")
    parser.add_argument("-o", "--output", type=Path, required=True, help="request.json")
    parser.add_argument(
        "--passes", action="store_true", help="also depth.npy (metres) and normals.npy (camera frame), in request.json.arrays/"
    )


def run(asked: argparse.Namespace) -> int:
    folder = asked.output.with_name(f"{asked.output.name}.arrays") if asked.passes else None
    request, arrays = read_source(asked, passes=folder)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    save_request(asked.output, request, arrays)
    print(f"{asked.output}: {request.width}x{request.height}, {len(request.characters)} characters")
    return DONE
