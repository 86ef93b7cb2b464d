"""Train a model of this project from nothing."""

import argparse

from platformdirs import user_cache_path

from ..training import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="model", required=True, metavar="embedded")
    embedded = what.add_parser("embedded", help="the tiny model that ships with the package")
    command.add_arguments(embedded, work=user_cache_path("beyondscene") / "train-embedded")


def run(asked: argparse.Namespace) -> int:
    return command.run(asked)
