"""List the jobs of a backend, newest last: id, state, done, size, prompt."""

import argparse
from typing import get_args

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
            print(f"{job.job_id}  {job.state:9}  {job.fraction:4.0%}  {job.width}x{job.height}  {one_line(job.prompt)}")
    return DONE
