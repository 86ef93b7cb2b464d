"""Have a backend render a .blend file or a request.json; prints the job id once the backend has it on its disk."""

import argparse
from pathlib import Path
from typing import get_args

import msgspec

from ...protocol import Accepted, PictureFormat, Refusal
from ...protocol.client import new_job_id
from ..blend import Shot, number_path
from ..models.sets import MANIFEST, find_model_sets, is_checkpoint, read_model_set
from ..outputs import FORMATS
from . import DONE, FAULT, STOPPED, say
from .arguments import job, priority
from .backend import Busy, add_backend, converse
from .bring import follow_job, tell_end
from .resume import add_skip_existing, frames_to_draw
from .source import add_models, add_source, models_of, read_source, record_of
from .target import check_picture_target, check_targets, in_unicode
from .words import warn_of_the_unseen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    words = f"wait, and bring each picture here, as one of {', '.join(FORMATS)}; default: `wait` and `fetch` do that later"
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.png", help=words)
    add_skip_existing(parser)
    add_models(parser, "name of a model set that the backend has, or its path")
    words = "repeat an earlier submit, which is harmless; default: a new one"
    parser.add_argument("--job-id", type=job, metavar="UUID", help=words)
    words = "of the picture: exr has a mask for each person; default: what OUT.png says, or png"
    parser.add_argument("--format", choices=get_args(PictureFormat), help=words)
    words = "-100 to 100, the highest first; above 0 for admins; default: 0"
    parser.add_argument("--priority", type=priority, default=0, metavar="N", help=words)
    parser.add_argument(
        "--json", action="store_true", help="print one line per job, for machines, and with -o one more at its end"
    )
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    if args.job_id and args.frames and len(args.frames) > 1:
        raise Refusal(f"--job-id names one job, but there is one for each of {len(args.frames)} frames: leave it out.")
    check_output(args)
    frames = frames_to_draw(args)
    if not frames:
        say(f"{args.output}: nothing to draw, it is all there")
        return DONE
    if args.frames:
        args.frames = frames
    record = record_of(args)
    outputs: dict[str, Path] = {}
    codes = {DONE}
    try:
        for shot in read_source(args, record):
            warn_of_the_unseen(shot)
            models = name_of(models_of(args, record, shot))
            while (job_id := try_to_submit(args, shot, models, raises=not outputs)) is None:
                codes.add(bring_oldest(args, outputs))
            facts = {"job_id": job_id, "frame": shot.frame, "width": shot.request.width, "height": shot.request.height}
            print(msgspec.json.encode(facts).decode() if args.json else job_id, flush=True)
            if args.output:
                outputs[job_id] = number_path(args.output, shot.frame)
        while outputs:
            codes.add(bring_oldest(args, outputs))
    except (KeyboardInterrupt, Refusal):
        if outputs:
            say("The backend goes on with what was submitted: `beyondscene fetch ID -o OUT` brings a picture when it is made.")
        raise
    return next(code for code in (FAULT, STOPPED, DONE) if code in codes)


def check_output(args: argparse.Namespace) -> None:
    """Raise Refusal for places where no picture can be brought, and for a format that is not what their name says."""
    if args.output is None:
        if args.skip_existing:
            raise Refusal("--skip-existing looks for the pictures that -o names: add -o OUT.png.")
        return
    check_targets(args.output, args, check_picture_target)
    said = FORMATS[args.output.suffix.lower()]
    if args.format not in (None, said):
        raise Refusal(f"--format {args.format} is not what {args.output.name} says: leave it out, or name the file so.")
    args.format = said


def name_of(models: str) -> str:
    """What a backend knows a model set by. models: its name, or, as for `render`, the path that tells the name."""
    path = Path(models)
    is_set = (path / MANIFEST).is_file() or is_checkpoint(path)
    if models in (model_set.name for model_set in find_model_sets()) or not is_set:
        return models
    return read_model_set(path).name


def submit_shot(args: argparse.Namespace, shot: Shot, models: str) -> str:
    """The job's id, once it is accepted."""
    job_id, picture_format = args.job_id or new_job_id(), args.format or "png"
    data = list(shot.arrays.values())
    said = converse(args, lambda client: client.submit(job_id, shot.request, None, models, data, args.priority, picture_format))
    try:
        next(event for event, _ in said if isinstance(event, Accepted))
    except Refusal as error:
        if args.frames is None or len(args.frames) == 1:
            raise
        raise type(error)(f"{error} Frame {shot.frame} and those after it were not submitted.") from error
    return job_id


def try_to_submit(args: argparse.Namespace, shot: Shot, models: str, *, raises: bool) -> str | None:
    """As submit_shot; None where the backend takes no more for now, unless that `raises`."""
    try:
        return submit_shot(args, shot, models)
    except Busy:
        if raises:
            raise
        return None


def bring_oldest(args: argparse.Namespace, outputs: dict[str, Path]) -> int:
    """Wait for the first of the jobs in `outputs`, bring its picture, and take it out of them. The exit code for it."""
    job_id, output = next(iter(outputs.items()))
    end = follow_job(args, job_id, output)
    code = tell_end(job_id, end)
    if args.json:
        place = in_unicode(output) if code == DONE else None
        facts = {"job_id": job_id, "state": type(end).__name__.lower(), "output": place}
        print(msgspec.json.encode(facts).decode(), flush=True)
    elif code == DONE:
        say(f"{output} is there.")
    del outputs[job_id]
    return code
