"""Train a model of this project."""

import argparse

from platformdirs import user_cache_path

from ..training import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="model", required=True, metavar="{embedded,few-steps}")
    work = user_cache_path("beyondscene") / "train-embedded"
    embedded = what.add_parser("embedded", help="the tiny model that ships with the package, from nothing")
    command.add_arguments(embedded, work)
    few_steps = what.add_parser("few-steps", help="its LoRA, with which it draws in a few steps")
    command.add_few_steps_arguments(few_steps, work)


def run(asked: argparse.Namespace) -> int:
    return command.run(asked) if asked.model == "embedded" else command.run_few_steps(asked)
