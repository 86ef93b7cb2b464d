"""Have a backend render a .blend file or a request.json; prints the job id once the backend has it on its disk."""

import argparse
from typing import get_args

from ...protocol import Accepted, PictureFormat
from ...protocol.client import new_job_id
from . import DONE
from .backend import add_backend, converse
from .source import add_source, read_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser, "SCENE.blend or request.json")
    parser.add_argument("--models", default="embedded", help="name of a model set that the backend has")
    parser.add_argument("--job-id", metavar="UUID", help="repeat an earlier submit, which is harmless; default: a new one")
    words = "of the picture: exr has a mask for each person; default: png"
    parser.add_argument("--format", choices=get_args(PictureFormat), default="png", help=words)
    words = "-100 to 100, the highest first; above 0 for admins; default: 0"
    parser.add_argument("--priority", type=int, default=0, metavar="N", help=words)
    add_backend(parser)


def run(asked: argparse.Namespace) -> int:
    request, arrays = read_source(asked)
    job_id = asked.job_id or new_job_id()
    data, priority = list(arrays.values()), asked.priority
    said = converse(asked, lambda client: client.submit(job_id, request, None, asked.models, data, priority, asked.format))
    next(event for event, _ in said if isinstance(event, Accepted))
    print(job_id)
    return DONE
