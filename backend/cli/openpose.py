"""Make a render request of OpenPose's JSON, as detectors and editors of poses write it, and `export --openpose`."""

import argparse
from pathlib import Path

from msgspec.structs import replace

from ...protocol import PosesError, Refusal, check_size, read_openpose, save_request
from . import DONE, say
from .arguments import size
from .target import check_request_target, make_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("poses", type=Path, metavar="POSES.json", help="people with COCO's 18 joints or the 25 of BODY_25")
    parser.add_argument("-o", "--output", type=Path, required=True, help="request.json")
    parser.add_argument(
        "--canvas", type=size, metavar="WxH", help="of the picture in which they lie, where POSES.json has none"
    )
    parser.add_argument("--prompt", default="", help="the scene, without its people")
    words = "the prompt of one of them, from the front to the back, as the request then has them; may be repeated"
    parser.add_argument("--person", action="append", default=[], metavar="PROMPT", help=words)


def run(args: argparse.Namespace) -> int:
    check_request_target(args.output)
    try:
        request = read_openpose(args.poses.read_bytes(), args.canvas)
    except PosesError as error:
        raise Refusal(f"{args.poses} has {error}.") from error
    check_size(request.width, request.height)
    people = request.characters
    if len(args.person) > len(people):
        raise Refusal(f"{args.poses} has {len(people)} people, and --person is there {len(args.person)} times: leave some out.")
    prompts = (*args.person, *[""] * (len(people) - len(args.person)))
    people = tuple(replace(one, prompt=prompt) for one, prompt in zip(people, prompts, strict=True))
    request = replace(request, prompt=args.prompt, characters=people)
    make_folder(args.output)
    save_request(args.output, request, {})
    print(f"{args.output}: {request.width}x{request.height}, {len(people)} characters")
    empty = [*(["the scene"] if not args.prompt else []), *(one.name for one in people if not one.prompt)]
    if empty:
        say(f"it can be rendered once it has prompts of {', '.join(empty)}: write them into it.")
    return DONE
