"""Say whether a .blend file, a request.json or a picture's record can be rendered, and how much work that is; draws nothing."""

import argparse

import msgspec

from ..blend import Shot
from ..models.sets import ModelSet
from ..planning.accept import accept_request
from ..planning.expect import Workload, check_memory, foresee, least_memory_bytes
from . import DONE
from .source import add_models, add_source, model_set_chooser, read_source, record_of
from .words import warn_of_the_unseen, warn_of_unknown_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    add_models(parser, "embedded, sdxl, the folder of a model set, or a finetune of SDXL in one file")
    parser.add_argument("--json", action="store_true", help="print one line per picture, for machines")


def run(args: argparse.Namespace) -> int:
    record = record_of(args)
    choose = model_set_chooser(args, record)
    for shot in read_source(args, record, check=lambda shot: check(shot, choose(shot))):
        model_set = choose(shot)
        warn_of_unknown_words(shot.request, model_set)
        work = foresee(warn_of_the_unseen(shot), model_set)
        if args.json:
            print(msgspec.json.encode(facts_of(shot, model_set, work)).decode())
        else:
            print_plan(shot, model_set, work)
    return DONE


def check(shot: Shot, model_set: ModelSet) -> None:
    """Raise Refusal for what cannot be rendered here."""
    check_memory(shot.request.width, shot.request.height)
    accept_request(shot.request, model_set)


def facts_of(shot: Shot, model_set: ModelSet, work: Workload) -> dict[str, object]:
    """canvases: the base image, then each level. evaluations: of the network; guided pairs count once."""
    request = shot.request
    return {
        "frame": shot.frame,
        "width": request.width,
        "height": request.height,
        "models": model_set.name,
        "people": work.people,
        "canvases": [{"width": s.width, "height": s.height, "views": n} for s, n in work.canvases],
        "steps": dict(zip(("people", "base", "levels"), work.steps, strict=True)),
        "evaluations": work.evaluations,
        "memory_bytes": least_memory_bytes(request.width, request.height),
    }


def print_plan(shot: Shot, model_set: ModelSet, work: Workload) -> None:
    request = shot.request
    frame = "" if shot.frame is None else f"frame {shot.frame}: "
    memory = f"{least_memory_bytes(request.width, request.height) / 1e9:.1f} GB of memory or more"
    print(f"{frame}{request.width}x{request.height} with {model_set.name}, {work.evaluations} network evaluations, {memory}")
    alone, base, level = work.steps
    print(f"  people    {work.people} drawn alone, {alone} steps each")
    for number, (size, views) in enumerate(work.canvases):
        name, steps = (f"level {number}", level) if number else ("base", base)
        print(f"  {name:8}  {size.width}x{size.height}, {views} views, {steps} steps")
