"""Write the render request of a .blend file, a request.json or a picture, for reading, editing and rendering elsewhere."""

import argparse
import os
import shlex
from pathlib import Path
from typing import get_args

from ...protocol import BodyModel, Refusal, is_seen, openpose_json, save_request
from ...protocol.codec import arrays_folder
from ..blend import number_path
from ..planning.people import gather_people
from . import DONE, say
from .source import add_source, own_models, read_source, record_of
from .target import check_request_target, check_targets, make_folder

PASSES = ("depth.npy", "normals.npy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    words = "request.json; its masks go into the folder request.json.arrays beside it, which belongs to it"
    parser.add_argument("-o", "--output", type=Path, required=True, help=words)
    parser.add_argument(
        "--passes", action="store_true", help="also depth.npy (metres) and normals.npy (camera frame), in request.json.arrays/"
    )
    parser.add_argument("--openpose", type=Path, metavar="POSES.json", help="also the joints as OpenPose writes them")
    parser.add_argument("--openpose-model", choices=get_args(BodyModel), help="BODY_25 has feet; default: COCO_18")


def run(args: argparse.Namespace) -> int:
    folder = arrays_folder(args.output) if args.passes else None
    if args.openpose_model and not args.openpose:
        raise Refusal("--openpose-model is of the file that --openpose names: add --openpose POSES.json, or leave it out.")
    if args.openpose and args.openpose.resolve() == args.output.resolve():
        raise Refusal(f"{args.output} cannot hold both the request and the poses: give --openpose another name.")
    for path in filter(None, (args.output, args.openpose)):
        check_targets(path, args, check_request_target)
    record, models = record_of(args), "embedded"
    for shot in read_source(args, record, passes=folder):
        frame, request, arrays, _ = shot
        models = own_models(record, shot)
        output = number_path(args.output, frame)
        source = args.source and os.path.realpath(number_path(args.source, frame))
        if not args.passes and source != os.path.realpath(output):  # they are of another picture
            for name in PASSES:
                (arrays_folder(output) / name).unlink(missing_ok=True)
        make_folder(output)
        save_request(output, request, arrays)
        if args.openpose:
            near_to_far = [person.character for person in reversed(gather_people(request)) if is_seen(person.character, arrays)]
            poses = openpose_json(request, [person.id for person in near_to_far], args.openpose_model or "COCO_18")
            openpose = number_path(args.openpose, frame)
            make_folder(openpose)
            openpose.write_bytes(poses)
        print(f"{output}: {request.width}x{request.height}, {len(request.characters)} characters")
    if models != "embedded":
        say(f"a request does not name its models: render it with `--models {shlex.quote(models)}`.")
    return DONE
