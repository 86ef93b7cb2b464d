"""Have a backend render a .blend file or a request.json; prints the job id once the backend has it on its disk."""

import argparse
from pathlib import Path
from typing import get_args

import msgspec

from ...protocol import Accepted, PictureFormat, Refusal
from ...protocol.client import new_job_id
from ..blend import Shot
from ..models.sets import MANIFEST, find_model_sets, read_model_set
from . import DONE
from .arguments import job, priority
from .backend import add_backend, converse
from .source import add_source, models_of, read_source, record_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    words = "name of a model set that the backend has, or its folder: embedded (default); an image names its own"
    parser.add_argument("--models", help=words)
    words = "repeat an earlier submit, which is harmless; default: a new one"
    parser.add_argument("--job-id", type=job, metavar="UUID", help=words)
    words = "of the picture: exr has a mask for each person; default: png"
    parser.add_argument("--format", choices=get_args(PictureFormat), default="png", help=words)
    words = "-100 to 100, the highest first; above 0 for admins; default: 0"
    parser.add_argument("--priority", type=priority, default=0, metavar="N", help=words)
    parser.add_argument("--json", action="store_true", help="print one line per job, for machines")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    if args.job_id and args.frames and len(args.frames) > 1:
        raise Refusal(f"--job-id names one job, but there is one for each of {len(args.frames)} frames: leave it out.")
    record = record_of(args)
    models = name_of(models_of(args, record))
    for shot in read_source(args, record):
        try:
            job_id = submit(args, shot, models)
        except Refusal as error:
            if args.frames is None or len(args.frames) == 1:
                raise
            raise type(error)(f"{error} Frame {shot.frame} and those after it were not submitted.") from error
        facts = {"job_id": job_id, "frame": shot.frame, "width": shot.request.width, "height": shot.request.height}
        print(msgspec.json.encode(facts).decode() if args.json else job_id, flush=True)
    return DONE


def name_of(models: str) -> str:
    """What a backend knows a model set by. models: its name, or as for `render` its folder, whose manifest has the name."""
    if models in (model_set.name for model_set in find_model_sets()) or not (Path(models) / MANIFEST).is_file():
        return models
    return read_model_set(Path(models)).name


def submit(args: argparse.Namespace, shot: Shot, models: str) -> str:
    """The job's id, once it is accepted."""
    job_id = args.job_id or new_job_id()
    data = list(shot.arrays.values())
    said = converse(args, lambda client: client.submit(job_id, shot.request, None, models, data, args.priority, args.format))
    next(event for event, _ in said if isinstance(event, Accepted))
    return job_id
