"""The folder of finished pictures. Files are named by job id alone: no name from outside ever becomes a path."""

import os
from pathlib import Path

from ...protocol import Done


class ResultFolder:
    """Pictures under one folder: each attempt writes a file of its own, and one of them becomes the result."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def attempt_path(self, job_id: str, attempt: int) -> Path:
        """Where the worker of this attempt writes."""
        return self.folder / f"{job_id}.attempt-{attempt}.png"

    def path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.png"

    def publish(self, done: Done) -> None:
        """Make the file of an attempt the result of its job. Raises OSError if it is absent or not the one announced."""
        temporary = self.attempt_path(done.job_id, done.attempt)
        if temporary.stat().st_size != done.size_bytes:
            raise OSError(f"{temporary} has {temporary.stat().st_size} bytes, the worker announced {done.size_bytes}")
        temporary.replace(self.path(done.job_id))  # the worker has flushed it
        if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename is flushed with the file system
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def discard(self, job_id: str, attempt: int) -> None:
        """Remove what an attempt that came to nothing has left."""
        for path in self.folder.glob(f"{self.attempt_path(job_id, attempt).name}*"):  # also the unfinished one
            path.unlink(missing_ok=True)

    def read(self, job_id: str, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` of the result, from `offset` on. Raises OSError if it is gone."""
        with self.path(job_id).open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes)
