"""Render a .blend file or a request.json to a picture, here and now, without a server."""

import argparse
import time
from pathlib import Path

import msgspec
from rich.console import Console

from ..models.sets import choose_model_set
from . import DONE
from .progress import Bar
from .source import add_source, read_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser, "SCENE.blend or request.json")
    parser.add_argument("-o", "--output", type=Path, required=True, help="OUT.png")
    parser.add_argument("--models", default="embedded", help="embedded, sdxl, or the folder of a model set")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--json", action="store_true", help="print one line with settings, times and digest")


def run(asked: argparse.Namespace) -> int:
    if asked.output.suffix.lower() != ".png":
        raise ValueError(f"The output is {asked.output.name}, but pictures are written as PNG: end the name in .png.")
    model_set = choose_model_set(asked.models)
    request, arrays = read_source(asked)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    from ..pipeline import settle
    from ..render import Renderer  # torch, only once the input is known to be good

    renderer = Renderer(asked.device)
    start = time.perf_counter()
    console = Console(stderr=True)
    with Bar(console) as bar:
        result = renderer(request, arrays, asked.models, asked.output, bar)
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
