"""Stop a job, waiting or running; returns when the backend has noted it."""

import argparse

from ...protocol import Cancelled, Failed, Finished, Refusal, Stopping
from . import DONE
from .arguments import job
from .backend import add_backend, converse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", type=job, metavar="ID")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    for event, _ in converse(args, lambda client: client.cancel(args.job_id)):
        match event:
            case Stopping() | Cancelled():
                break
            case Finished() | Failed():
                raise Refusal(f"Job {args.job_id} has ended before: it is {type(event).__name__.lower()}.")
    return DONE
