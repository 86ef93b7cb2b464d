"""Render a .blend file, a request.json or an earlier picture's own record to a picture, here and now, without a server."""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.console import Console

from ..models.fingerprint import fingerprint_weights
from ..models.loras import fingerprint_loras, gather_loras
from ..models.sets import choose_model_set
from ..outputs import read_record, weights_that_differ
from ..planning.expect import check_memory
from . import DONE
from .device import add_device, add_offload
from .progress import Bar
from .source import add_source, read_source
from .target import check_picture_target, check_room, write_somewhere


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser, "SCENE.blend or request.json")
    parser.add_argument("-o", "--output", type=Path, required=True, help="OUT.png, OUT.tif or OUT.exr")
    parser.add_argument("--models", help="embedded (default), sdxl, or the folder of a model set; an image names its own")
    add_device(parser)
    add_offload(parser)
    parser.add_argument("--json", action="store_true", help="print one line with settings, times and digest")


def run(asked: argparse.Namespace) -> int:
    check_picture_target(asked.output)
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")  # one of several processes speaks
    record = None if asked.from_image is None else read_record(asked.from_image)
    models = asked.models or (record.models if record else "embedded")
    model_set = choose_model_set(models)
    request, arrays = read_source(asked, record)
    weights = fingerprint_weights(model_set) | fingerprint_loras(gather_loras(request, model_set)) if record else {}
    if record and (differing := weights_that_differ(record, weights)):
        names = ", ".join(differing)
        print(
            f"beyondscene: warning: the picture will not be the same as {asked.from_image}, whose models were others: {names}.",
            file=sys.stderr,
        )
    check_memory(request)
    check_room(asked.output, request)
    from ..planning.settle import settle
    from ..processes import joined_processes
    from ..render import Renderer  # torch, only once the input is known to be good

    start = time.perf_counter()
    with joined_processes() as number, TemporaryDirectory() as spare, Bar(console) as bar:
        renderer = Renderer(asked.device, precision=asked.precision, offload=asked.offload, write=write_somewhere)
        # each of several processes has the picture; one is enough to write it
        result = renderer(request, arrays, models, Path(spare) / asked.output.name if number else asked.output, bar)
    if number:
        return DONE
    seconds = time.perf_counter() - start
    if asked.json:
        told = {
            "output": str(asked.output),
            "width": result.width,
            "height": result.height,
            "seed": request.seed,
            "models": model_set.name,
            "device": str(renderer.device),
            "settings": settle(request.settings, model_set.manifest),
            "seconds": round(seconds, 3),
            "times": result.times,
            "digest": result.digest,
        }
        print(msgspec.json.encode(told).decode())
    else:
        console.print(f"{asked.output}: {result.width}x{result.height} in {seconds:.0f} s")
    return DONE
