"""Wait for the end of a job, also across restarts of the backend; the exit code tells which end it was."""

import argparse
import sys

from rich.console import Console

from ...protocol import Cancelled, Failed, Finished, Progressed
from . import CANCELLED, DONE, FAULT
from .backend import add_backend, converse
from .progress import Bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="ID")
    add_backend(parser)


def run(asked: argparse.Namespace) -> int:
    with Bar(Console(stderr=True)) as bar:
        for event, _ in converse(asked, lambda client: client.follow(asked.job_id)):
            match event:
                case Progressed():
                    where = {name: getattr(event, name) for name in ("level", "levels", "step", "steps", "fraction", "label")}
                    bar.progress(event.stage, **where)
                case Finished():
                    return DONE
                case Cancelled():
                    return CANCELLED
                case Failed():
                    break
    print(f"beyondscene: {event.message}", file=sys.stderr)
    return FAULT
