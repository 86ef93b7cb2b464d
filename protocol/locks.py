"""One process at a time: a lock on an open file, which the system takes back however its holder ends."""

import sys
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    FAR_BYTE = 2**31 - 2  # what is locked, others cannot even read: a byte where hardly a file has any

    def seize(file: BinaryIO) -> None:
        before = file.tell()
        file.seek(FAR_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(before)

else:
    import fcntl

    def seize(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(file: BinaryIO) -> bool:
    """Whether `file`, open for writing, is ours until it is closed; False where somebody else has it open and locked.

    On a file system that knows no locks it is everybody's.
    """
    try:
        seize(file)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
