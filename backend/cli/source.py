"""What `render`, `check`, `export` and `submit` start from: a .blend file, a request.json, or an earlier picture."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from msgspec.structs import asdict, replace

from ...protocol import (
    LONGEST_SIDE_PX,
    SAME_PROPORTIONS,
    SIDE_STEP_PX,
    SMALLEST_SIDE_PX,
    Refusal,
    RenderRequest,
    RenderSettings,
    WireError,
    arrays_of,
    check_request,
    check_size,
    load_request,
    request_from_json,
    resized,
)
from ...protocol.codec import WHERE_THE_FORM_IS
from ..blend import Shot, export_blend, number_path
from ..models.few_steps import FewSteps
from ..models.sets import ModelSet, choose_model_set
from ..outputs import FORMATS, Record, RecordError, read_record, restore_request
from ..planning.change import change_settings
from .arguments import frame, frames, seed, size
from .backdrop import add_backdrop, read_backdrop, scale_backdrop, with_backdrop

STANDARD_INPUT = Path("-")


def add_source(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    words = "SCENE.blend, or a request.json as `export` writes it (or request.####.json); - reads JSON from standard input"
    source.add_argument("source", type=Path, nargs="?", metavar="SCENE", help=words)
    source.add_argument("--from-image", type=Path, metavar="OUT.png", help="a picture whose own record is to be used")
    parser.add_argument("--size", type=size, metavar="WxH", help="pixels, multiples of 8; default: the scene's own")
    parser.add_argument("--seed", type=seed, help="default: the scene's own")
    words = "another value for a setting, as few_steps=true; null leaves it to the models; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=words)
    add_backdrop(parser)
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--frame", type=frame, help="of a .blend or of request.####.json; default: that it was saved at")
    when.add_argument(
        "--frames", type=frames, metavar="A-B[:STEP]", help="several, one picture each; #### in a name: the number"
    )
    parser.add_argument("--scene", metavar="NAME", help="of a .blend; default: the one it was saved with")
    parser.add_argument("--camera", metavar="NAME", help="of a .blend; default: the scene's own")


def read_source(
    args: argparse.Namespace,
    record: Record | None,
    passes: Path | None = None,
    check: Callable[[Shot], None] = lambda _: None,
) -> Iterator[Shot]:
    """Each request, checked, with its arrays. All are there and good before the first comes. Raises Refusal.

    record: see record_of. passes: folder for the depth and the normals of a .blend's meshes; #### in its name stands for the
    frame. check: called with each before the first comes.
    """
    source: Path = args.source or args.from_image
    if is_blend(args.source):
        if args.size:
            check_size(*args.size)  # before Blender draws masks of it, which takes long where they are large
        changed(args, RenderRequest(width=SMALLEST_SIDE_PX, height=SMALLEST_SIDE_PX, prompt=""))  # nor for a slip in --set
        if args.backdrop is not None and args.size:
            scale_backdrop(args.backdrop, *args.size)
        elif args.backdrop is not None:
            read_backdrop(args.backdrop)
        width, height = args.size or (None, None)
        numbers = args.frames or (None if args.frame is None else (args.frame,))
        options = {"scene": args.scene, "camera": args.camera, "passes": passes}

        for shot in export_blend(
            source, width, height, args.seed, numbers, **options, check=lambda shot: check(altered(args, shot))
        ):
            yield altered(args, shot)
        return
    refuse_what_a_blend_has(args, source, passes)
    for number in args.frames or ():  # one at a time, and again below: the masks of many frames would fill the memory
        read_shot(args, number, record, check)
    for number in args.frames or (args.frame,):
        yield read_shot(args, number, record, check)


def read_shot(args: argparse.Namespace, number: int | None, record: Record | None, check: Callable[[Shot], None]) -> Shot:
    """That of a request.json, of the one for the frame `number`, or of an image, checked. Raises Refusal."""
    try:
        if record:
            request, arrays = restore_from(args.from_image, record)
            request = left_open(args, request)
        elif args.source == STANDARD_INPUT:
            request, arrays = read_request()
        else:
            request, arrays = load_request(number_path(args.source, number))
        if args.size:
            check_size(request.width, request.height)
            refuse_other_proportions(request, *args.size)
            request = resized(request, *args.size)
        if args.seed is not None:
            request = replace(request, seed=args.seed)
        shot = altered(args, Shot(number, request, arrays))
        check_request(shot.request)
        check(shot)
    except Refusal as refusal:
        if number is None:
            raise
        raise Refusal(f"Frame {number}: {refusal}") from refusal
    return shot


def altered(args: argparse.Namespace, shot: Shot) -> Shot:
    """`shot` with what the command line says instead. Raises Refusal."""
    return with_backdrop(args, shot._replace(request=changed(args, shot.request)))


def changed(args: argparse.Namespace, request: RenderRequest) -> RenderRequest:
    """`request` with the settings of `--set`. Raises Refusal, as change_settings does."""
    said = " ".join(f"--set {change}" for change in args.set)
    return replace(request, settings=change_settings(request.settings, args.set, said)) if args.set else request


def left_open(args: argparse.Namespace, request: RenderRequest) -> RenderRequest:
    """`request`, of a record, whose every choice is resolved; where `--set` gives it few steps, or none, what was for the other
    is as if never chosen."""
    if changed(args, request).settings.few_steps == request.settings.few_steps:
        return request
    own = FewSteps.__struct_fields__
    settings = {name: default for name, default in asdict(RenderSettings()).items() if name in own}
    return replace(request, settings=replace(request.settings, **settings))


def read_request() -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """That on standard input, which comes without arrays. Raises Refusal."""
    try:
        request = request_from_json(sys.stdin.buffer.read())
    except WireError as error:
        raise WireError(f"Standard input is {error}. {WHERE_THE_FORM_IS}") from error
    for name, _ in arrays_of(request):
        raise Refusal(f"{name} is not on standard input, but beside the request's file: name that file instead.")
    return request, {}


def restore_from(image: Path, record: Record) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """As restore_request. Raises RecordError, which names the image."""
    try:
        return restore_request(record)
    except WireError as error:
        raise RecordError(
            f"{image} cannot be repeated ({error}): it is damaged, or from a newer version; name another one, or update this."
        ) from error


def record_of(args: argparse.Namespace) -> Record | None:
    """What the image says about its making, where one is the source. Raises Refusal where it says nothing."""
    if args.from_image is None:
        return None
    if args.from_image.suffix.lower() == ".json" or is_blend(args.from_image):
        raise Refusal(f"{args.from_image} is no picture: leave --from-image out before it.")
    return read_record(args.from_image)


def add_models(parser: argparse.ArgumentParser, words: str) -> None:
    """words: what may be named."""
    parser.add_argument("--models", help=f"{words}; default: the .blend's own or the image's, or else embedded")


def models_of(args: argparse.Namespace, record: Record | None, shot: Shot) -> str:
    """The model set that is asked for, or else its own."""
    return own_models(record, shot) if args.models is None else args.models


def own_models(record: Record | None, shot: Shot) -> str:
    """The model set that an image was made with or a .blend was saved with."""
    return (record.models if record else shot.models) or "embedded"


def model_set_chooser(args: argparse.Namespace, record: Record | None) -> Callable[[Shot], ModelSet]:
    """Chooses the set of a shot, whose files are looked for once, however many frames name it.

    Raises Refusal, as what it returns does, for one that cannot render: for `--models` before Blender opens a scene in vain.
    """
    choose = cache(choose_model_set)
    if args.models is not None:
        choose(args.models)
    return lambda shot: choose(models_of(args, record, shot))


def is_blend(source: Path | None) -> bool:
    """Also for Blender's own backups, .blend1 and on."""
    return source is not None and re.fullmatch(r"\.blend\d*", source.suffix.lower()) is not None


def refuse_other_proportions(request: RenderRequest, width: int, height: int) -> None:
    """Raise Refusal for a size that would stretch people; sides that were rounded to multiples of 8 do not."""

    def stretch(wide: int, high: int) -> float:
        return abs(wide * request.height / (high * request.width) - 1)

    if stretch(width, height) > SAME_PROPORTIONS:
        sides = range(SMALLEST_SIDE_PX, LONGEST_SIDE_PX + 1, SIDE_STEP_PX)  # that check_request will not refuse in turn
        pairs = ((wide, SIDE_STEP_PX * round(wide * request.height / request.width / SIDE_STEP_PX)) for wide in sides)
        good = [(wide, high) for wide, high in pairs if high in sides and stretch(wide, high) <= SAME_PROPORTIONS]
        same_width = min(good, key=lambda size: abs(size[0] - width))
        same_height = min(good, key=lambda size: (abs(size[1] - height), stretch(*size)))
        advice = " or ".join(f"{wide}x{high}" for wide, high in dict.fromkeys((same_width, same_height)))
        raise Refusal(
            f"--size {width}x{height} has other proportions than the picture's {request.width}x{request.height}, which would "
            f"stretch the people in it: use {advice}, or export it again at that size."
        )


def refuse_what_a_blend_has(args: argparse.Namespace, source: Path, passes: Path | None) -> None:
    """Raise Refusal for a picture, and for an option that would be of no effect, as there is no .blend."""
    if args.source and source.suffix.lower() in FORMATS:
        raise Refusal(f"{source} is a picture: write --from-image before it, to have what it says about its own making.")
    if passes:
        raise Refusal(
            f"Depth and normals come from the meshes of a .blend, and {source} is none: name the .blend, or leave --passes out."
        )
    for name in ("scene", "camera"):
        if getattr(args, name) is not None:
            raise Refusal(f"--{name} chooses from a .blend, and {source} is none: name the .blend, or leave --{name} out.")
    numbered = args.source is not None and "#" in source.name
    for name in ("frame", "frames"):
        if getattr(args, name) is not None and not numbered:
            raise Refusal(
                f"--{name} chooses from a .blend, or from requests with #### for the number in their name, and {source} is "
                f"neither: name such, or leave --{name} out."
            )
    if numbered and args.frame is None and args.frames is None and not source.exists():
        raise Refusal(f"{source} stands for a request of each frame: say which with --frames A-B or --frame N.")
