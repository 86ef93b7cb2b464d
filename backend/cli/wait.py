"""Wait for the end of a job, also across restarts of the backend; the exit code tells which end it was."""

import argparse

import msgspec

from .arguments import job
from .backend import add_backend
from .bring import follow_job, tell_end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", type=job, metavar="ID")
    parser.add_argument("--json", action="store_true", help="print one line about the end, for machines")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    end = follow_job(args, args.job_id)
    code = tell_end(args.job_id, end)
    if args.json:
        facts = {name: value for name, value in msgspec.to_builtins(end).items() if name not in ("type", "seq")}
        print(msgspec.json.encode({"state": type(end).__name__.lower(), **facts}).decode())
    return code
