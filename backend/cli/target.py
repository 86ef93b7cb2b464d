"""Where a command writes to: tried before any work is done, and not in vain where it fails after it."""

import argparse
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ...protocol import Refusal
from ...protocol.whole import patiently
from ..blend import number_path
from ..home import user_data_path
from ..outputs import FORMATS, Picture, Record, choose_format, most_bytes, write_picture


def check_picture_target(path: Path) -> None:
    """As check_target, for a picture in the format of its suffix."""
    refuse_folder(path)
    choose_format(path)
    check_target(path)


def check_request_target(path: Path) -> None:
    """As check_target, for a request or poses in JSON."""
    refuse_folder(path)
    if path.suffix.lower() != ".json":
        raise Refusal(f"{path} would hold JSON, which its name does not say: end the name in .json.")
    check_target(path)


def check_secret_target(path: Path) -> None:
    """As check_target, for new keys: raises Refusal also where a file is there already."""
    if os.path.lexists(path):
        raise Refusal(f"{path} is there already, and may hold keys that are in use: choose another name.")
    check_target(path)


def check_folder(path: Path) -> None:
    """Raise Refusal where the folder `path` cannot be made or written to. It is not made yet."""
    try_to_write(path, Path(os.path.realpath(path)), "")


def check_targets(path: Path, args: argparse.Namespace, check: Callable[[Path], None]) -> None:
    """`check` each file that `path` stands for. Raises Refusal, also where several frames would go to one file."""
    frames = args.frames or (args.frame,)
    outputs = {number_path(path, frame) for frame in frames}
    if len(outputs) < len(frames):
        raise Refusal(f"{path} is one file for {len(frames)} frames: write #### where each one's number is to be.")
    for output in outputs:
        check(output)


def check_target(path: Path) -> None:
    """Raise Refusal where `path` cannot be written. Its folder is not made yet: make_folder does that."""
    refuse_folder(path)
    place = Path(os.path.realpath(path))  # as whole_file follows links
    try_to_write(path, place.parent, f"{place.name}.")


def try_to_write(path: Path, folder: Path, prefix: str) -> None:
    """Write a file for a moment, whose name begins so, in `folder` or where that would be made. path: for the refusal."""
    try:
        # not by tempfile, which tries names for days where Windows lets it write none (python/cpython#66305)
        probe = nearest(folder) / f"{prefix}{secrets.token_hex(4)}.part"
        try:
            with probe.open("xb") as file:
                file.write(bytes(4096))
        finally:
            patiently(lambda: probe.unlink(missing_ok=True))
    except OSError as error:
        words = "a file stands where a folder should" if isinstance(error, NotADirectoryError) else error.strerror
        raise Refusal(f"{path} cannot be written ({words}): choose another place, or put that one right.") from error


def nearest(folder: Path) -> Path:
    """`folder`, or of those that it is to lie in the nearest that is there.

    Raises OSError for what can be no folder's name, and where there is none at all, as of a drive that is not there.
    """
    while True:
        try:
            folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            if folder == folder.parent:
                raise
            folder = folder.parent
        else:
            return folder


def make_folder(path: Path) -> None:
    """Make the folder of the file `path`, now that there is something to write there."""
    Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)


def in_unicode(path: Path) -> str:
    """Its name as JSON can hold it: bytes that are no UTF-8, which a file's name may have, are replaced."""
    return os.fsencode(path).decode(errors="replace")


def refuse_folder(path: Path) -> None:
    if os.path.isdir(path):  # noqa: PTH112  (Path's own raises for a name that is too long)
        raise Refusal(f"{path} is a folder: name a file in it.")


def check_room(path: Path, width: int, height: int, people: int, pictures: int) -> None:
    """Raise Refusal where the disk of `path` may not take so many pictures of this size with so many people."""
    needed = pictures * most_bytes(FORMATS[path.suffix.lower()], width, height, people)
    free = shutil.disk_usage(nearest(Path(os.path.realpath(path)).parent)).free
    if free < needed:
        what = "The picture" if pictures == 1 else f"The {pictures} pictures"
        raise Refusal(
            f"{what} may have {needed / 1e6:.1f} MB, but {free / 1e6:.1f} MB are free in {path.parent.resolve()}: "
            "make room there, or choose another place."
        )


def write_somewhere(path: Path, picture: Picture, record: Record) -> None:
    """As write_picture. What cannot be written to `path` after all is kept elsewhere: raises Refusal, which says where."""
    try:
        make_folder(path)
        write_picture(path, picture, record)
    except Exception as error:  # each library of a format raises what it likes
        for folder in spare_folders():
            kept = folder / path.name
            try:
                write_picture(kept, picture, record)
            except Exception:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            raise Refusal(f"{path} could not be written ({error}), so the picture is in {kept}: move it from there.") from error
        raise


def spare_folders() -> Iterator[Path]:
    """New ones, for what must not get lost; each is asked for only where the one before did not do."""
    for place in (None, user_data_path("beyondscene")):  # None: where the system has temporary files
        try:
            if place:
                place.mkdir(parents=True, exist_ok=True)
            yield Path(tempfile.mkdtemp(prefix="beyondscene-kept-", dir=place))
        except OSError:
            continue
