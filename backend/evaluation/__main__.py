"""python -m beyondscene.backend.evaluation: `beyondscene evaluate` where the command line's own needs are missing."""

import argparse

from ..cli import answer
from ..cli.evaluate import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m beyondscene.backend.evaluation", description="Judge methods and models.")
add_arguments(parser)
asked = parser.parse_args()
raise SystemExit(answer(lambda: run(asked)))
