"""python -m beyondscene.backend.bench: `beyondscene bench` where the command line's own needs are missing."""

import argparse

from ..cli.bench import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m beyondscene.backend.bench", description="Measure methods side by side.")
add_arguments(parser)
raise SystemExit(run(parser.parse_args()))
