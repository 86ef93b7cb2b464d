"""What of a `render` that was interrupted need not be done again: whole pictures, and the checkpoints of the one under way."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ...protocol import Refusal, digest_of
from ..blend import Shot, number_path
from ..processes import place_among_processes
from . import say
from .target import check_folder


def add_resume(parser: argparse.ArgumentParser) -> None:
    add_skip_existing(parser)
    words = "keep here what an interrupted picture has come to: the same command goes on from it"
    parser.add_argument("--checkpoints", type=Path, metavar="FOLDER", help=words)


def add_skip_existing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-existing", action="store_true", help="draw no picture whose file is there already")


def check_checkpoints(folder: Path | None) -> None:
    """Raise Refusal where nothing can be kept in `folder`, or where several processes would keep different steps there."""
    if folder is None:
        return
    if place_among_processes()[1] > 1:
        raise Refusal("--checkpoints keeps what one process has come to, but torchrun has started several: leave it out.")
    check_folder(folder)


def frames_to_draw(args: argparse.Namespace) -> list[int | None]:
    """Those without a picture yet. A frame is None where none was named."""
    frames: list[int | None] = list(args.frames or (args.frame,))
    return [frame for frame in frames if not number_path(args.output, frame).exists()] if args.skip_existing else frames


@contextmanager
def checkpoints_of(shot: Shot, output: Path, folder: Path | None) -> Iterator[Path]:
    """Where this picture's checkpoints lie. Below `folder` they outlast an interruption, and go once the picture is there."""
    if folder is None:
        with TemporaryDirectory() as kept:
            yield Path(kept)
        return
    own = folder / f"{output.name}-{digest_of(msgspec.json.encode(shot.request))[:16]}"
    own.mkdir(parents=True, exist_ok=True)
    if any(own.glob("*.safetensors")):
        say(f"{output} goes on from {own}")
    yield own
    shutil.rmtree(own, ignore_errors=True)  # another command may have drawn the same picture meanwhile


def how_to_go_on(args: argparse.Namespace) -> str:
    """One sentence for whoever has interrupted the command."""
    start = "goes on from the checkpoints" if args.checkpoints else "begins this picture again"
    words = [f"The same command {start}"]
    if not args.checkpoints:
        words.append("with --checkpoints FOLDER the next interruption costs no more than a step")
    if args.frames and not args.skip_existing:
        words.append("with --skip-existing it leaves out the pictures that are there")
    return f"{'; '.join(words)}."
