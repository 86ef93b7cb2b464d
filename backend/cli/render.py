"""Render a .blend file, a request.json or an earlier picture's own record to a picture, here and now, without a server."""

import argparse
import time
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import msgspec
from rich.console import Console

from ..blend import Shot, number_path
from ..checkpoints import CheckpointFolder
from ..models.extras import fingerprint_extras
from ..models.fingerprint import fingerprint_manifest, fingerprint_schedule, fingerprint_weights
from ..models.kinds import SCHEDULE
from ..models.manifest import MANIFEST
from ..models.memory_saving import Precision
from ..models.sets import ModelSet
from ..outputs import FORMATS, Record, weights_that_differ
from ..planning.accept import accept_request
from ..planning.expect import check_memory
from ..planning.resolve import digest_making, resolve_settings
from ..processes import joined_processes, place_among_processes
from ..version import app_version
from . import DONE, say
from .device import add_device, add_offload, check_device
from .progress import open_console, show_progress
from .resume import add_resume, check_checkpoints, checkpoints_of, frames_to_draw, how_to_go_on
from .source import add_models, add_source, is_blend, model_set_chooser, models_of, read_source, record_of
from .target import check_picture_target, check_room, check_targets, in_unicode, write_somewhere
from .words import warn_of_remarks, warn_of_the_unseen, warn_of_unknown_words

if TYPE_CHECKING:
    from ..render import Renderer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help=f"OUT with one of {', '.join(FORMATS)}")
    add_models(parser, "embedded, sdxl, the folder of a model set, or a finetune of SDXL in one file")
    add_device(parser)
    add_offload(parser)
    add_resume(parser)
    parser.add_argument("--json", action="store_true", help="print one line per picture with settings, times and digest")


def run(args: argparse.Namespace) -> int:
    check_targets(args.output, args, check_picture_target)
    check_checkpoints(args.checkpoints)
    console = open_console(quiet=place_among_processes()[0] > 0)  # one of several processes speaks
    frames = frames_to_draw(args)
    if not frames:
        console.print(f"{args.output}: nothing to draw, it is all there", soft_wrap=True)
        return DONE
    if args.frames:
        args.frames = frames
    record = record_of(args)
    choose = model_set_chooser(args, record)
    own = record.precision if record and args.precision == "auto" else ""
    precision = cast(Precision, own or args.precision)
    if args.size and is_blend(args.source):
        check_holds(args, *args.size, people=0)  # before Blender draws masks of it
    check_device(args.device, precision)
    shots = read_source(args, record, check=lambda shot: check(shot, choose(shot), args, record))
    first = next(shots)  # all are known to be good by now
    models, model_set = models_of(args, record, first), choose(first)
    check_holds(args, first.request.width, first.request.height, people=len(first.request.characters))
    warn_of_unknown_words(first.request, model_set)
    from ..render import Renderer  # torch, only once the input is known to be good

    with joined_processes() as number, TemporaryDirectory() as spare:
        renderer = Renderer(args.device, precision=precision, offload=args.offload, write=write_somewhere)
        for shot in chain((first,), shots):
            output = number_path(args.output, shot.frame)
            if not number:
                warn_of_the_unseen(shot)
            # each of several processes has the picture; one is enough to write it
            place = Path(spare) / output.name if number else output
            try:
                facts = draw(renderer, shot, models, model_set, place, console, args.checkpoints)
            except KeyboardInterrupt:
                say(how_to_go_on(args))
                raise
            if number:
                continue
            warn_of_remarks(facts["remarks"], shot.frame)
            if args.json:
                print(msgspec.json.encode(facts).decode(), flush=True)
            else:
                console.print(f"{output}: {facts['width']}x{facts['height']} in {facts['seconds']:.0f} s", soft_wrap=True)
    return DONE


def check(shot: Shot, model_set: ModelSet, args: argparse.Namespace, record: Record | None) -> None:
    """Raise Refusal for what cannot be rendered here; warn where `record` was made with other models."""
    _, extras = accept_request(shot.request, model_set)
    if record is None:
        return
    differing = weights_that_differ(record, fingerprint_weights(model_set) | fingerprint_extras(extras))
    if any(change.startswith("few_steps=") for change in args.set):  # as was asked for
        differing = [name for name in differing if not name.startswith("few_steps/")]
    if record.schedule not in ("", fingerprint_schedule(model_set.schedule)):
        differing.append(f"base/{SCHEDULE}")
    if record.manifest not in ("", fingerprint_manifest(model_set.manifest)):
        differing.append(MANIFEST)
    if differing:
        names = ", ".join(differing)
        say(f"warning: the picture will not be the same as {args.from_image}, whose models were others: {names}.")


def check_holds(args: argparse.Namespace, width: int, height: int, people: int) -> None:
    """Raise Refusal where the machine's memory or the output's disk is too small for such pictures."""
    check_memory(width, height)
    check_room(args.output, width, height, people, len(args.frames or (None,)))


def draw(
    renderer: "Renderer", shot: Shot, models: str, model_set: ModelSet, output: Path, console: Console, kept: Path | None
) -> dict[str, Any]:
    """Render one picture; what `--json` tells about it. kept: folder for checkpoints that are to outlast the command."""
    start = time.perf_counter()
    made_by = "this command"  # whose folder is its own
    if kept is not None:
        digest = digest_making(shot.request, model_set)
        made_by = f"beyondscene {app_version()} on {renderer.device} in {renderer.dtype} with {digest}"
    # where memory runs out, the next attempt goes on from what this one has come to
    with show_progress(console, output.name) as bar, checkpoints_of(shot, output, kept) as folder:
        result = renderer(shot.request, shot.arrays, models, output, bar, CheckpointFolder(folder, made_by))
    return {
        "output": in_unicode(output),
        "frame": shot.frame,
        "width": result.width,
        "height": result.height,
        "seed": shot.request.seed,
        "models": model_set.name,
        "device": str(renderer.device),
        "settings": resolve_settings(shot.request.settings, model_set),
        "seconds": round(time.perf_counter() - start, 3),
        "times": result.times,
        "digest": result.digest,
        "remarks": result.remarks,
    }
