"""This Blender as others of the same user see it: a file that it keeps locked, which the system lets go however it ends."""

from pathlib import Path
from typing import BinaryIO

from ..protocol.client import new_job_id
from ..protocol.locks import lock
from ..protocol.whole import patiently
from . import images

_file: BinaryIO | None = None


def name() -> str:
    """Of this Blender, from now on until `leave`. Raises OSError where its file cannot be written."""
    global _file
    if _file is None:
        folder().mkdir(parents=True, exist_ok=True)
        _file = (folder() / new_job_id()).open("xb")
        lock(_file)
    return Path(_file.name).name


def is_another(blender: str) -> bool:
    """Whether that is the name of a Blender that runs, and not of this one."""
    if _file is not None and blender == Path(_file.name).name:
        return False
    place = folder() / blender
    try:
        with place.open("r+b") as file:
            runs = not lock(file)
        if not runs:
            place.unlink()
    except OSError:
        return False
    return runs


def leave() -> None:
    """What this Blender waited for, others may."""
    global _file
    if _file is not None:
        path = Path(_file.name)
        _file.close()
        _file = None
        patiently(lambda: path.unlink(missing_ok=True))


def folder() -> Path:
    return images.own_folder() / "blenders"
