"""Have a backend render a .blend file or a request.json; prints the job id once the backend has it on its disk."""

import argparse
from typing import get_args

import msgspec

from ...protocol import Accepted, PictureFormat, Refusal
from ...protocol.client import new_job_id
from ..blend import Shot
from . import DONE
from .arguments import job
from .backend import add_backend, converse
from .source import add_source, read_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser, "SCENE.blend or request.json")
    parser.add_argument("--models", default="embedded", help="name of a model set that the backend has")
    words = "repeat an earlier submit, which is harmless; default: a new one"
    parser.add_argument("--job-id", type=job, metavar="UUID", help=words)
    words = "of the picture: exr has a mask for each person; default: png"
    parser.add_argument("--format", choices=get_args(PictureFormat), default="png", help=words)
    words = "-100 to 100, the highest first; above 0 for admins; default: 0"
    parser.add_argument("--priority", type=int, default=0, metavar="N", help=words)
    parser.add_argument("--json", action="store_true", help="print one line per job, for machines")
    add_backend(parser)


def run(asked: argparse.Namespace) -> int:
    if asked.job_id and asked.frames and len(asked.frames) > 1:
        raise Refusal(f"--job-id names one job, but there is one for each of {len(asked.frames)} frames: leave it out.")
    for shot in read_source(asked):
        job_id = submit(asked, shot)
        told = {"job_id": job_id, "frame": shot.frame, "width": shot.request.width, "height": shot.request.height}
        print(msgspec.json.encode(told).decode() if asked.json else job_id, flush=True)
    return DONE


def submit(asked: argparse.Namespace, shot: Shot) -> str:
    """The job's id, once it is accepted."""
    job_id = asked.job_id or new_job_id()
    data, priority = list(shot.arrays.values()), asked.priority
    said = converse(asked, lambda client: client.submit(job_id, shot.request, None, asked.models, data, priority, asked.format))
    next(event for event, _ in said if isinstance(event, Accepted))
    return job_id
