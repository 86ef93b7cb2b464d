"""python -m beyondscene.backend.training: `beyondscene train` where the command line's own needs are missing."""

import argparse

from ..cli import answer
from .command import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m beyondscene.backend.training", description="Train a model of this project.")
add_arguments(parser)
asked = parser.parse_args()
raise SystemExit(answer(lambda: run(asked)))
