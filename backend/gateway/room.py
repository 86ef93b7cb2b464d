"""Room on the disk: what a job needs before it starts, and which errors say that there is none."""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from ...protocol import RequestError, Submit
from ..outputs import most_bytes
from .settings import MIB

FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE_BYTES = 4 * MIB  # for the ledger and the logs
CHECKPOINT_BYTES = 5  # per pixel: images of all levels 4, latents and the solver's memory 1


class NotNow(RequestError):  # noqa: N818  (reads as what it is)
    """A limit is reached, of jobs or of bytes: what was asked for may be taken later."""


def needed_bytes(submit: Submit) -> int:
    """What must be free for a job to be done whatever the picture looks like."""
    request = submit.request
    picture = most_bytes(submit.picture_format, request.width, request.height, len(request.characters))
    return RESERVE_BYTES + picture + CHECKPOINT_BYTES * request.width * request.height


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether a full disk, or a used-up quota of it, is what `error` tells of a file in `folder`."""
    if isinstance(error, sqlite3.Error):
        told = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return told == sqlite3.SQLITE_FULL or (told == sqlite3.SQLITE_IOERR and not takes_more(folder))
    return isinstance(error, OSError) and error.errno in FULL


def takes_more(folder: Path) -> bool:
    """Whether there is room in `folder`, by trying: SQLite calls a used-up quota a fault of the disk."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(RESERVE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno not in FULL
    return True
