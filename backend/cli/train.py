"""Train a model of this project from nothing."""

import argparse
from pathlib import Path

from platformdirs import user_cache_path

from . import DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="model", required=True, metavar="MODEL")
    embedded = what.add_parser("embedded", help="the tiny model that ships with the package")
    embedded.add_argument("--work", type=Path, default=user_cache_path("beyondscene") / "train-embedded", help="checkpoints")
    embedded.add_argument("--out", type=Path, required=True, help="folder for the finished model set")


def run(asked: argparse.Namespace) -> int:
    return DONE
