"""Bring the picture of a finished job here; a transfer that broke goes on where it ended."""

import argparse
from pathlib import Path

from ...protocol import JobsListed, Refusal
from ...protocol.client import Client, Saved, Spoilt
from . import DONE
from .backend import add_backend, converse
from .target import check_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_id", metavar="ID")
    parser.add_argument("-o", "--output", type=Path, required=True, help="OUT.png")
    add_backend(parser)


def run(asked: argparse.Namespace) -> int:
    check_target(asked.output)

    def ask(client: Client) -> None:
        client.list_jobs(asked.job_id)
        client.follow(asked.job_id, asked.output)

    for event, _ in converse(asked, ask):
        match event:
            case JobsListed() if event.jobs[0].state != "finished":
                raise Refusal(f"Job {asked.job_id} has no picture: it is {event.jobs[0].state}.")
            case Spoilt():
                raise Refusal(event.message)
            case Saved():
                break
    return DONE
