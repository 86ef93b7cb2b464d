"""List the jobs of a backend, newest last: id, state, done, when it was asked for, size, prompt."""

import argparse
from contextlib import suppress
from datetime import datetime
from typing import get_args
from uuid import UUID

import msgspec

from ...protocol import JobsListed
from ...protocol.messages import JobState
from ...protocol.text import one_line
from . import DONE
from .arguments import JOBS, job_count
from .backend import add_backend, converse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=job_count, default=100, metavar="N", help="the newest ones; default: 100")
    parser.add_argument("--state", choices=get_args(JobState), help="only those in this state, of the newest 1000")
    parser.add_argument("--json", action="store_true", help="print one line per job, for machines")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    most = JOBS[-1] if args.state else args.limit
    answers = converse(args, lambda client: client.list_jobs(limit=most))
    listed = next(event for event, _ in answers if isinstance(event, JobsListed))
    jobs = [job for job in listed.jobs if args.state in (None, job.state)]
    for job in jobs[-args.limit :]:
        if args.json:
            print(msgspec.json.encode(job).decode())
        else:
            size = f"{job.width}x{job.height}"
            print(f"{job.job_id}  {job.state:9}  {job.fraction:4.0%}  {say_when(job.job_id)}  {size}  {one_line(job.prompt)}")
    return DONE


def say_when(job_id: str) -> str:
    """In local time; of an id that is no UUIDv7, which begins with its milliseconds, nobody knows. Clients choose their ids."""
    number = UUID(job_id)
    if number.version == 7:
        with suppress(ValueError, OverflowError, OSError):  # a time that no calendar has
            return f"{datetime.fromtimestamp((number.int >> 80) / 1000):%Y-%m-%d %H:%M}"
    return f"{'-':16}"
