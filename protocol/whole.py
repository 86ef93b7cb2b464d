"""Files that are whole or absent, also after a crash."""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 2.0 if os.name == "nt" else 0.0  # with others who have a file open for a moment


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A name to write to. What is there at the end is put on the disk and takes the place of `path`, or of what that links to;
    after an error `path` is as it was, and nothing is left over.

    The name is nobody else's, so that two programs which write the same file do not write into each other's.
    mode: of the file, without what the process masks.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        masked = partial.stat().st_mode
        yield partial
        if partial.stat().st_mode != masked:  # safetensors 0.8 puts a file of its own there, which nobody else may read
            partial.chmod(masked)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        patiently(lambda: partial.replace(path))
    except OSError as error:
        if error.errno is None or (error.filename is not None and str(error.filename) != str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # by the name that somebody has asked for
    finally:
        partial.unlink(missing_ok=True)


def patiently(act: Callable[[], T]) -> T:
    """What `act` returns, which renames, removes or reads a file or a folder.

    On Windows it may not while somebody has that open, or a file in it, as a virus scanner has what was just written; nor may a
    file be opened at the very moment in which it takes another's place (bpo-46003). It is tried again for PATIENCE_S.
    """
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except PermissionError:
            if time.monotonic() >= give_up_s:
                raise
        time.sleep(0.02)


def flush_folder(folder: Path) -> None:
    """Return when the names in `folder` are on the disk, or at once on a file system that flushes no folders."""
    if os.name == "posix":  # elsewhere a folder cannot be opened, and a rename is flushed with the file system
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)
