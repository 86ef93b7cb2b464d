"""Bring the picture of a finished job here; a transfer that broke goes on where it ended."""

import argparse
from pathlib import Path

from ...protocol import Finished, JobsListed, Refusal
from ...protocol.client import Client, Saved, Spoilt
from ..outputs import choose_format
from . import DONE
from .arguments import job
from .backend import add_backend, converse
from .target import check_picture_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", type=job, metavar="ID")
    parser.add_argument("-o", "--output", type=Path, required=True, help="OUT.png, or as `submit --format` said")
    add_backend(parser)


def run(asked: argparse.Namespace) -> int:
    check_picture_target(asked.output)
    check_kind(asked)
    for event, _ in converse(asked, lambda client: client.follow(asked.job_id, asked.output)):
        match event:
            case Spoilt():
                raise Refusal(event.message)
            case Saved():
                break
    return DONE


def check_kind(asked: argparse.Namespace) -> None:
    """Raise Refusal where the job has no picture, or not one as its file is to be named."""

    def ask(client: Client) -> None:
        client.list_jobs(asked.job_id)
        client.follow(asked.job_id)

    for event, _ in converse(asked, ask):
        match event:
            case JobsListed() if event.jobs[0].state != "finished":
                raise Refusal(f"Job {asked.job_id} has no picture: it is {event.jobs[0].state}.")
            case Finished() if event.media_type != choose_format(asked.output).MEDIA_TYPE:
                raise Refusal(
                    f"The picture of job {asked.job_id} is {event.media_type}, which {asked.output.name} is no name "
                    "for: name it so, or submit it again with --format."
                )
            case Finished():
                break
