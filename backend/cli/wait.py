"""Wait for the end of a job, also across restarts of the backend; the exit code tells which end it was."""

import argparse

import msgspec

from ...protocol import Cancelled, Failed, Finished, Paused, Progressed
from ..watch import Headway
from . import DONE, FAULT, STOPPED, say
from .arguments import job
from .backend import add_backend, converse
from .progress import Bar, Lines, open_console, show_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", type=job, metavar="ID")
    parser.add_argument("--json", action="store_true", help="print one line about the end, for machines")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    with show_progress(open_console(), args.job_id) as bar:
        end = wait_for_end(args, bar)
    if isinstance(end, Failed):
        say(end.message)
    if isinstance(end, Cancelled):
        say(f"Job {args.job_id} was cancelled.")
    if args.json:
        facts = {name: value for name, value in msgspec.to_builtins(end).items() if name not in ("type", "seq")}
        print(msgspec.json.encode({"state": type(end).__name__.lower(), **facts}).decode())
    return {Finished: DONE, Failed: FAULT, Cancelled: STOPPED}[type(end)]


def wait_for_end(args: argparse.Namespace, bar: Bar | Lines) -> Finished | Failed | Cancelled:
    for event, _ in converse(args, lambda client: client.follow(args.job_id)):
        match event:
            case Progressed():
                bar.progress(Headway(**{name: getattr(event, name) for name in Headway.__struct_fields__}))
            case Paused():
                say(event.message)
            case Finished() | Failed() | Cancelled():
                return event
    raise AssertionError("a conversation ends only by being left")
