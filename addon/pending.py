"""Pictures that are not where they belong yet, remembered beyond Blender's end: one small file each, named by its job."""

import time
from pathlib import Path
from typing import BinaryIO, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ..protocol.locks import lock
from ..protocol.messages import JobId
from . import images

LONG_S = 30 * 24 * 3600.0  # what was promised so long ago and is not found will not be found any more

_claimed: dict[str, BinaryIO] = {}  # the promises whose pictures this Blender waits for, open and locked


class Promise(Struct, frozen=True, kw_only=True):
    """What was promised of the picture of a job.

    picture: path of the file that it is written to.
    blend: path of the .blend in which it becomes an Image datablock; empty where that was never saved.
    here: the file is written, and waits for its .blend to be opened.
    """

    format: Literal[1] = 1
    picture: str
    blend: str = ""
    here: bool = False

    @property
    def path(self) -> Path:
        return Path(self.picture)


def remember(job_id: str, promise: Promise) -> None:
    """From now on `promise` is what holds of this job, and this Blender waits for it unless its picture is here.

    Raises OSError where it cannot be written.
    """
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / job_id).write_bytes(msgspec.json.encode(promise))
    if promise.here:
        release(job_id)
    else:
        claim(job_id)


def forget(job_id: str) -> None:
    """The job has ended, and its picture is where it belongs if it has one."""
    release(job_id)
    (folder() / job_id).unlink(missing_ok=True)


def claim(job_id: str) -> bool:
    """Whether it is this Blender that waits for the picture from now on, and no other that runs."""
    if job_id in _claimed:
        return True
    try:
        file = (folder() / job_id).open("r+b")
    except OSError:
        return False
    if not lock(file):
        file.close()
        return False
    _claimed[job_id] = file
    return True


def release(job_id: str) -> None:
    """Another Blender may wait for the picture from now on."""
    if job_id in _claimed:
        _claimed.pop(job_id).close()


def miss(job_id: str) -> None:
    """A backend does not know the job, or its picture is not there. That need not be for good: there are other backends, drives
    that are not always there, and other Blenders that may find it.
    """
    age_s = time.time() - (UUID(job_id).int >> 80) / 1000  # a UUIDv7 begins with its milliseconds
    if age_s > LONG_S:
        forget(job_id)
    else:
        release(job_id)


def release_all() -> None:
    for job_id in tuple(_claimed):
        release(job_id)


def pending() -> dict[str, Promise]:
    """The jobs that are still at a backend, oldest first, without those that another Blender waits for."""
    return {job_id: promise for job_id, promise in promises().items() if not promise.here and claimable(job_id)}


def claimable(job_id: str) -> bool:
    if job_id in _claimed:
        return True
    free = claim(job_id)
    release(job_id)
    return free


def missed(blend: str) -> dict[str, Promise]:
    """The jobs whose pictures came while `blend` was not open, oldest first."""
    return {
        job_id: promise for job_id, promise in promises().items() if promise.here and images.same_file(promise.blend, blend)
    }


def promises() -> dict[str, Promise]:
    """Oldest first."""
    files = sorted(folder().iterdir()) if folder().is_dir() else []
    return {file.name: promise for file in files if (promise := read(file))}


def read(file: Path) -> Promise | None:
    """None where it is none of ours, or of a later version."""
    try:
        msgspec.convert(file.name, JobId)
        data = file.read_bytes()
        if data.startswith(b"{"):
            return msgspec.json.decode(data, type=Promise)
        return Promise(picture=data.decode())  # as versions before 1 wrote it: the path alone
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError):
        return None


def folder() -> Path:
    return images.own_folder() / "pending"
