"""Room on the disk: what a job needs before it starts, and which errors pass by themselves once there is room again."""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from ...protocol import RequestError, Submit
from ..outputs import most_bytes
from .settings import MIB

SHORTAGES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk's quota is used up",
    errno.EMFILE: "this process has too many files and connections open",
    errno.ENFILE: "this machine has too many files open",
}
RESERVE_BYTES = 4 * MIB  # for the ledger and the logs
CHECKPOINT_BYTES = 5  # per pixel: images of all levels 4, latents and the solver's memory 1
EXR_BYTES = 3  # more for OpenEXR, whose last level has 16 bits per channel


class NotNow(RequestError):  # noqa: N818  (reads as what it is)
    """A limit is reached, of jobs or of bytes: what was asked for may be taken later."""


def needed_bytes(submit: Submit) -> int:
    """What must be free for a job to be done whatever the picture looks like."""
    request = submit.request
    picture = most_bytes(submit.picture_format, request.width, request.height, len(request.characters))
    each = CHECKPOINT_BYTES + (EXR_BYTES if submit.picture_format == "exr" else 0)
    return RESERVE_BYTES + picture + each * request.width * request.height


def check_disk(submit: Submit, folder: Path) -> None:
    """Raise RequestError for a job that would not fit even if the disk of `folder` were empty: it would be paused for ever."""
    needed, total = needed_bytes(submit), shutil.disk_usage(folder).total
    if needed > total:
        request = submit.request
        raise RequestError(
            f"A picture of {request.width}x{request.height} px needs {needed} bytes on the backend's disk, which has {total} "
            "in all: choose a smaller size, or serve from a larger disk."
        )


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def shortage(error: BaseException, folder: Path) -> str:
    """What `error` says the machine is short of for a while, one of SHORTAGES; empty for another error. folder: of its file."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return SHORTAGES[errno.ENOSPC]
        return try_to_write(folder) if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) else ""
    return SHORTAGES.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def try_to_write(folder: Path) -> str:
    """The shortage that a file in `folder` meets: SQLite calls a used-up quota a fault of the disk."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(RESERVE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return shortage(error, folder)
    return ""
