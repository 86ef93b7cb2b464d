"""List the jobs of a backend, newest last: id, state, done, size, prompt."""

import argparse

import msgspec

from ...protocol import JobsListed
from ...protocol.text import one_line
from . import DONE
from .backend import add_backend, converse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one line per job, for machines")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    listed = next(event for event, _ in converse(args, lambda client: client.list_jobs()) if isinstance(event, JobsListed))
    for job in listed.jobs:
        if args.json:
            print(msgspec.json.encode(job).decode())
        else:
            print(f"{job.job_id}  {job.state:9}  {job.fraction:4.0%}  {job.width}x{job.height}  {one_line(job.prompt)}")
    return DONE
