"""A picture on its way from the backend to a file."""

import errno
import hashlib
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from .codec import Frames
from .events import Chunk, Finished
from .locks import lock
from .messages import CHUNK_BYTES, CREDIT_CHUNKS
from .requests import Fetch
from .whole import flush_folder, patiently


class Transfer:
    """A result on its way into `path`: at most CREDIT_CHUNKS pieces are asked for ahead, the digest is checked at the end.

    What has come lies in a file named after the digest, from whose end a later transfer goes on.

    overwrite: whether a file that `path` names by the end is replaced; otherwise `path` becomes a free name beside it.
    """

    def __init__(self, finished: Finished, path: Path, *, overwrite: bool) -> None:
        """Where all has come before, as a program was ended before it could rename the file, the transfer is complete at once.

        Raises OSError where `path` cannot be written or the same result is on its way there already, ValueError for an empty
        result, and for a file in its way that is another.
        """
        if finished.size_bytes == 0:
            raise ValueError("it is announced with 0 bytes; render again")
        self.finished = finished
        self.path = path
        self._overwrite = overwrite
        # What a link points to is replaced, not the link, as in whole_file; nor is the name any longer than there.
        self._place = Path(os.path.realpath(path)) if overwrite else path
        self._partial = self._place.with_name(f"{self._place.name}.{finished.digest[:8]}.part")
        self._file: BinaryIO = self._partial.open("a+b")
        if not lock(self._file):
            self._file.close()
            raise BlockingIOError(errno.EWOULDBLOCK, "another program is bringing the same picture there")
        self._file.seek(0)
        self._hash = hashlib.blake2b(digest_size=32)
        while piece := self._file.read(CHUNK_BYTES):
            self._hash.update(piece)
        self._received = self._requested = self._file.tell()
        if self._received >= finished.size_bytes:
            try:
                self._finish()
            except ValueError as error:  # never of our making
                self.abandon()
                raise ValueError(
                    f"{self._partial.name} was there already and is another; it is removed: fetch again"
                ) from error

    @property
    def complete(self) -> bool:
        return self._file.closed

    def requests(self) -> list[Fetch]:
        """What to ask for now: nothing until half of the credit is used up."""
        ahead = -(-(self._requested - self._received) // CHUNK_BYTES)
        if self._requested >= self.finished.size_bytes or ahead > CREDIT_CHUNKS // 2:
            return []
        fetch = Fetch(job_id=self.finished.job_id, offset=self._requested, chunks=CREDIT_CHUNKS - ahead)
        self._requested = min(self._requested + fetch.chunks * CHUNK_BYTES, self.finished.size_bytes)
        return [fetch]

    def ask_again(self) -> list[Fetch]:
        """What to ask for where nothing of what was asked for will come any more."""
        self._requested = self._received
        return self.requests()

    def take(self, chunk: Chunk, payload: Frames) -> None:
        """Raises ValueError where a piece is not the next one, or the whole has another digest; OSError from the disk."""
        if len(payload) != 1 or chunk.offset != self._received or not 0 < len(payload[0]) <= CHUNK_BYTES:
            raise ValueError(f"a piece at byte {chunk.offset} came where byte {self._received} was due; render again")
        self._file.write(payload[0])
        self._hash.update(payload[0])
        self._received += len(payload[0])
        if self._received >= self.finished.size_bytes:
            self._finish()

    def _finish(self) -> None:
        """All has come. What is on the disk before it has its name is whole also after a power cut."""
        if self._received != self.finished.size_bytes or self._hash.hexdigest() != self.finished.digest:
            self._file.close()
            raise ValueError("it was damaged on the way, as its digest shows; render again")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._overwrite:
            patiently(lambda: self._partial.replace(self._place))
        else:
            self.path = move_beside(self._partial, self.path)
        with suppress(OSError):  # a file system that flushes no folders has the picture all the same
            flush_folder(self._place.parent)

    def suspend(self) -> None:
        """Leave what has come to a later transfer."""
        with suppress(OSError):
            self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # where the disk is full, what is still in memory cannot be written either
            self._file.close()
        patiently(lambda: self._partial.unlink(missing_ok=True))


def move_beside(file: Path, path: Path) -> Path:
    """Give `file` the name `path`, or `<name> (2)`, `<name> (3)` and so on where there are such files, and return it.

    The name is taken by an empty file first, so that no other machine that shares the folder takes it. Raises OSError.
    """
    name = path
    for number in count(2):
        with suppress(FileExistsError):
            name.open("xb").close()
            break
        name = path.with_stem(f"{path.stem} ({number})")
    try:
        return patiently(lambda: file.replace(name))
    except OSError:
        name.unlink()
        raise
