"""python -m beyondscene.backend.bench: `beyondscene bench` where the command line's own needs are missing."""

import argparse

from ..cli import answer
from ..cli.bench import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m beyondscene.backend.bench", description="Measure methods side by side.")
add_arguments(parser)
asked = parser.parse_args()
raise SystemExit(answer(lambda: run(asked)))
