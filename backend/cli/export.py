"""Write the render request of a .blend file, a request.json or a picture, for reading, editing and rendering elsewhere."""

import argparse
from pathlib import Path
from typing import get_args

from ...protocol import BodyModel, Refusal, openpose_json, save_request
from ..blend import number_path
from ..planning.people import gather_people, is_seen
from . import DONE
from .source import add_source, read_source
from .target import check_request_target, check_targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help="request.json")
    parser.add_argument(
        "--passes", action="store_true", help="also depth.npy (metres) and normals.npy (camera frame), in request.json.arrays/"
    )
    parser.add_argument("--openpose", type=Path, metavar="POSES.json", help="also the joints as OpenPose writes them")
    parser.add_argument(
        "--openpose-model", choices=get_args(BodyModel), default="COCO_18", help="BODY_25 has feet; default: COCO_18"
    )


def run(args: argparse.Namespace) -> int:
    folder = args.output.with_name(f"{args.output.name}.arrays") if args.passes else None
    if args.openpose and args.openpose.resolve() == args.output.resolve():
        raise Refusal(f"{args.output} cannot hold both the request and the poses: give --openpose another name.")
    for path in filter(None, (args.output, args.openpose)):
        check_targets(path, args, check_request_target)
    for frame, request, arrays in read_source(args, passes=folder):
        output = number_path(args.output, frame)
        try:
            save_request(output, request, arrays)
            if args.openpose:
                near_to_far = [one.character for one in reversed(gather_people(request)) if is_seen(one.character, arrays)]
                poses = openpose_json(request, [one.id for one in near_to_far], args.openpose_model)
                number_path(args.openpose, frame).write_bytes(poses)
        except OSError as error:
            raise Refusal(f"{output} could not be written ({error}): make room there, or choose another place.") from error
        print(f"{output}: {request.width}x{request.height}, {len(request.characters)} characters")
    return DONE
