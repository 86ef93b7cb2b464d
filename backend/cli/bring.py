"""Wait for the end of a job, and bring its picture here: what `submit`, `wait` and `fetch` share."""

import argparse
from pathlib import Path

from ...protocol import Cancelled, Failed, Finished, Paused, Pong, Progressed, Refusal, Started
from ...protocol.client import Saved, Spoilt
from ..watch import Headway
from . import DONE, FAULT, STOPPED, say
from .backend import converse
from .progress import Bar, Lines, open_console, show_progress
from .target import make_folder
from .words import warn_of_remarks

End = Finished | Failed | Cancelled


def follow_job(args: argparse.Namespace, job_id: str, output: Path | None = None) -> End:
    """The job's end, which is shown coming, and where it is a picture: once that is at `output`, if one is named.

    A transfer that breaks goes on where it ended. Raises Refusal for a picture that cannot be brought.
    """
    with show_progress(open_console(), output.name if output else job_id) as bar:
        end = hear_end(args, job_id, None, bar)
        if output and isinstance(end, Finished):
            make_folder(output)  # not before: the job may fail, and whoever waits may be interrupted
            end = hear_end(args, job_id, output, bar)
        return end


def hear_end(args: argparse.Namespace, job_id: str, output: Path | None, bar: Bar | Lines) -> End:
    paused = ""  # why it waits; said once nothing follows, as all that has happened to the job is told from the start
    for event, _ in converse(args, lambda client: client.follow(job_id, output)):
        match event:
            case Progressed():
                bar.progress(Headway(**{name: getattr(event, name) for name in Headway.__struct_fields__}))
            case Paused():
                paused = event.message
            case Started():
                paused = ""
            case Pong() if paused:
                say(paused)
                paused = ""
            case Failed() | Cancelled():
                return event
            case Finished() if output is None:
                return event
            case Saved():
                return event.finished
            case Spoilt():
                raise Refusal(event.message)
    raise AssertionError("a conversation ends only by being left")


def tell_end(job_id: str, end: End) -> int:
    """The exit code for it; what is not a picture is said, and what of one is not as it was asked for."""
    if isinstance(end, Finished):
        warn_of_remarks(end.remarks)
    if isinstance(end, Failed):
        say(end.message)
    if isinstance(end, Cancelled):
        say(f"Job {job_id} was cancelled.")
    return {Finished: DONE, Failed: FAULT, Cancelled: STOPPED}[type(end)]
