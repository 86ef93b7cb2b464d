"""python -m beyondscene.backend.training: `beyondscene train` where the command line's own needs are missing."""

import argparse

from .command import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m beyondscene.backend.training", description="Train a model of this project.")
add_arguments(parser)
raise SystemExit(run(parser.parse_args()))
