"""Train a model of this project from nothing."""

import argparse
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from . import DONE

OUT_OF_TIME = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="model", required=True, metavar="embedded")
    embedded = what.add_parser("embedded", help="the tiny model that ships with the package")
    work = user_cache_path("beyondscene") / "train-embedded"
    embedded.add_argument("--work", type=Path, default=work, help=f"renders and checkpoints, about 3.5 GB; default: {work}")
    embedded.add_argument("--out", type=Path, required=True, help="folder for the finished model set")
    embedded.add_argument("--minutes", type=float, help=f"stop after so long with exit code {OUT_OF_TIME}; call again to go on")
    embedded.add_argument("--device", default="auto", help="auto, cpu, cuda")
    embedded.add_argument("--steps", type=int, help="of the denoiser")
    embedded.add_argument("--seed", type=int, default=0)
    embedded.add_argument("--tiny", action="store_true", help="run through all stages in a minute; the weights are of no use")


def run(asked: argparse.Namespace) -> int:
    from ..training.embedded import TrainingSettings, tiny_settings, train_embedded

    make = tiny_settings if asked.tiny else TrainingSettings
    settings = make(work=asked.work, out=asked.out, minutes=asked.minutes, device=asked.device)
    denoiser = settings.denoiser
    if asked.steps:
        denoiser = msgspec.structs.replace(denoiser, steps=asked.steps)
    settings = msgspec.structs.replace(settings, seed=asked.seed, denoiser=denoiser)
    done = train_embedded(settings, lambda event: print(msgspec.json.encode(event).decode(), flush=True))
    return DONE if done else OUT_OF_TIME
