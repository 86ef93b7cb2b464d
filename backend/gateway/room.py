"""Room on the disk: what a job needs before it starts, and which errors say that there is none."""

import errno
import shutil
import sqlite3
from pathlib import Path

from ...protocol import Submit
from .settings import MIB

RESERVE_BYTES = 4 * MIB  # for the ledger and the logs
PICTURE_BYTES = 3  # per pixel, of one that does not compress
HALF_BYTES = 2  # per pixel and channel of an OpenEXR file: three colours, each person's, and their order
CHECKPOINT_BYTES = 5  # per pixel: images of all levels 4, latents and the solver's memory 1


def needed_bytes(submit: Submit) -> int:
    """What must be free for a job to be done whatever the picture looks like."""
    request, picture = submit.request, PICTURE_BYTES
    if submit.picture_format == "exr":
        picture = HALF_BYTES * (4 + len(request.characters))
    return RESERVE_BYTES + (picture + CHECKPOINT_BYTES) * request.width * request.height


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def is_full(error: BaseException) -> bool:
    """Whether a full disk, or a used-up quota of it, is what `error` tells."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
