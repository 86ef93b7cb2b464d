"""Pictures that are not where they belong yet, remembered beyond Blender's end: one small file each, named by its job."""

import time
from pathlib import Path
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..protocol.messages import JobId
from ..protocol.whole import patiently, whole_file
from . import images, presence

LONG_S = 30 * 24 * 3600.0  # what was promised so long ago and is not found will not be found any more


class Promise(Struct, frozen=True, kw_only=True):
    """What was promised of the picture of a job.

    picture: path of the file that it is written to.
    blend: path of the .blend in which it becomes an Image datablock; empty where that was never saved.
    here: the file is written, and waits for its .blend to be opened.
    blender: name of the Blender that waits for the picture; None where any may bring it.
    """

    format: Literal[1] = 1
    picture: str
    blend: str = ""
    here: bool = False
    blender: JobId | None = None

    @property
    def path(self) -> Path:
        return Path(self.picture)


def remember(job_id: str, promise: Promise) -> None:
    """From now on `promise` is what holds of this job, and this Blender waits for its picture unless that is here.

    Raises OSError where it cannot be written.
    """
    write(job_id, replace(promise, blender=None if promise.here else presence.name()))


def forget(job_id: str) -> None:
    """The job has ended, and its picture is where it belongs if it has one."""
    patiently(lambda: (folder() / job_id).unlink(missing_ok=True))


def miss(job_id: str) -> None:
    """A backend does not know the job, or its picture is not there. That need not be for good: there are other backends, drives
    that are not always there, and other Blenders that may find it. Raises OSError where that cannot be noted.
    """
    age_s = time.time() - (UUID(job_id).int >> 80) / 1000  # a UUIDv7 begins with its milliseconds
    if age_s > LONG_S:
        forget(job_id)
    elif promise := read(folder() / job_id):
        write(job_id, replace(promise, blender=None))


def pending() -> dict[str, Promise]:
    """The jobs that are still at a backend, oldest first, without those that another Blender waits for."""
    return {
        job_id: promise
        for job_id, promise in promises().items()
        if not promise.here and not (promise.blender and presence.is_another(promise.blender))
    }


def missed(blend: str) -> dict[str, Promise]:
    """The jobs whose pictures came while `blend` was not open, oldest first."""
    return {
        job_id: promise for job_id, promise in promises().items() if promise.here and images.same_file(promise.blend, blend)
    }


def promises() -> dict[str, Promise]:
    """Oldest first."""
    files = sorted(folder().iterdir()) if folder().is_dir() else []
    return {file.name: promise for file in files if (promise := read(file))}


def write(job_id: str, promise: Promise) -> None:
    folder().mkdir(parents=True, exist_ok=True)
    with whole_file(folder() / job_id) as draft:  # the older promise is better than half of a new one
        draft.write_bytes(msgspec.json.encode(promise))


def read(file: Path) -> Promise | None:
    """None where it is none of ours, or of a later version."""
    try:
        msgspec.convert(file.name, JobId)
        return msgspec.json.decode(file.read_bytes(), type=Promise)
    except (ValueError, RecursionError, OSError):  # what is no JSON, or no UTF-8
        return None


def folder() -> Path:
    return images.own_folder() / "pending"
