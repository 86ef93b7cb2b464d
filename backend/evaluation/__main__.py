"""python -m beyondscene.backend.evaluation: `beyondscene evaluate` where the command line's own needs are missing."""

import argparse

from ..cli.evaluate import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m beyondscene.backend.evaluation", description="Judge methods and models.")
add_arguments(parser)
raise SystemExit(run(parser.parse_args()))
