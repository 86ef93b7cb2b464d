"""Bring the picture of a finished job here; a transfer that broke goes on where it ended."""

import argparse
from pathlib import Path

from ...protocol import Finished, JobsListed, Refusal
from ...protocol.client import Client
from ..outputs import choose_format
from .arguments import job
from .backend import add_backend, converse
from .bring import follow_job, tell_end
from .target import check_picture_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", type=job, metavar="ID")
    parser.add_argument("-o", "--output", type=Path, required=True, help="OUT.png, or as `submit --format` said")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    check_picture_target(args.output)
    check_kind(args)
    return tell_end(args.job_id, follow_job(args, args.job_id, args.output))


def check_kind(args: argparse.Namespace) -> None:
    """Raise Refusal where the job has no picture, or not one as its file is to be named."""

    def ask(client: Client) -> None:
        client.list_jobs(args.job_id)
        client.follow(args.job_id)

    for event, _ in converse(args, ask):
        match event:
            case JobsListed() if event.jobs[0].state != "finished":
                raise Refusal(f"Job {args.job_id} has no picture: it is {event.jobs[0].state}.")
            case Finished() if event.media_type != choose_format(args.output).MEDIA_TYPE:
                raise Refusal(
                    f"The picture of job {args.job_id} is {event.media_type}, which {args.output.name} is no name "
                    "for: name it so, or submit it again with --format."
                )
            case Finished():
                break
