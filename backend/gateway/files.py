"""The files of jobs: a folder for each running attempt, and the finished pictures.

Files are named by job id and attempt alone: no name from outside ever becomes a path.
"""

import shutil
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import get_args

from ...protocol import JobDone, PictureFormat, RequestError
from ...protocol.whole import flush_folder, patiently
from .allow_list import Listed
from .ledger import Ledger
from .room import NotNow


class JobFiles:
    """In the data folder, one folder `<job id>.attempt-<n>` for the attempt that runs, and `<job id>.png` for its picture, or
    the suffix of another format.

    An attempt takes over the folder of the one before by renaming it, so a worker that was given up but still lives finds
    no place to write to.
    """

    def __init__(self, data_folder: Path) -> None:
        self.data_folder = data_folder
        self._work = data_folder / "work"
        self._results = data_folder / "results"
        for folder in (self._work, self._results):
            folder.mkdir(parents=True, exist_ok=True)

    def begin(self, job_id: str, attempt: int) -> Path:
        """The folder of a new attempt, with the checkpoints of those before it."""
        folder = self._work / f"{job_id}.attempt-{attempt}"
        before = self._attempts(job_id)
        if before:
            patiently(lambda: before[0].replace(folder))
            for unfinished in folder.glob("*.part"):  # of a worker that was killed: nobody writes on
                with suppress(OSError):
                    unfinished.unlink()
        else:
            folder.mkdir()
        return folder

    def held_bytes(self, job_id: str) -> int:
        """What the attempts of a job have left on the disk, which its next one goes on with or writes anew."""
        held = 0
        for folder in self._attempts(job_id):
            for file in folder.iterdir():
                with suppress(FileNotFoundError):  # of a worker that is about to leave
                    held += file.stat().st_size
        return held

    def path(self, job_id: str) -> Path:
        """The picture of a job, in whichever format; where there is none, a name that none has."""
        paths = [self._results / f"{job_id}.{suffix}" for suffix in get_args(PictureFormat)]
        return next((path for path in paths if path.exists()), paths[0])

    def publish(self, done: JobDone, picture_format: PictureFormat = "png") -> None:
        """Make the picture of an attempt the result of its job. Raises OSError if it is absent or not the one announced."""
        picture = picture_in(self._work / f"{done.job_id}.attempt-{done.attempt}", picture_format)
        result = self._results / f"{done.job_id}.{picture_format}"
        if not picture.exists() and result.exists() and result.stat().st_size == done.size_bytes:
            pass  # it was, but then the disk was too full, or no file could be opened
        elif (size_bytes := picture.stat().st_size) != done.size_bytes:
            raise OSError(f"{picture} has {size_bytes} bytes, the worker announced {done.size_bytes}")
        else:
            patiently(lambda: picture.replace(result))  # the worker has flushed it
        flush_folder(self._results)

    def tidy(self, job_id: str, finished: bool) -> None:
        """The job has ended: what its attempts have left goes, and so does a picture that came too late to be its result."""
        for folder in self._attempts(job_id):
            shutil.rmtree(folder, ignore_errors=True)
        if not finished:
            self.path(job_id).unlink(missing_ok=True)

    def sweep(self, live: Container[str]) -> None:
        """Remove the folders of jobs that are not `live`: a gateway that was killed may have left some."""
        for folder in self._work.iterdir():
            if folder.name.partition(".")[0] not in live:
                shutil.rmtree(folder, ignore_errors=True)

    def read(self, job_id: str, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` of the result, from `offset` on. Raises OSError if it is gone."""
        with self.path(job_id).open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes)

    def _attempts(self, job_id: str) -> list[Path]:
        # No glob, which finds nothing where the folder cannot be opened.
        return [folder for folder in self._work.iterdir() if folder.name.startswith(f"{job_id}.attempt-")]


class Quota:
    """How many bytes of finished pictures are kept: the oldest that were fetched make room for new ones."""

    def __init__(self, ledger: Ledger, files: JobFiles, limit_bytes: int) -> None:
        self._ledger = ledger
        self._files = files
        self._limit_bytes = limit_bytes

    def make_room(self, short_bytes: int) -> list[str]:
        """Remove pictures that were fetched until the rest is within the limit, and `short_bytes` are free that were not.

        Return whose. Others are never removed, and none for `short_bytes` that all of them would not make free, or for a
        picture that is larger than the limit itself: such a one goes before others do, once it was fetched.
        """
        limit_bytes = self._limit_bytes
        kept = sorted(self._ledger.results(), key=lambda picture: picture.size_bytes <= limit_bytes)
        if short_bytes > sum(picture.size_bytes for picture in kept if picture.fetched):
            short_bytes = 0
        counted_bytes = sum(picture.size_bytes for picture in kept if picture.fetched or picture.size_bytes <= limit_bytes)
        excess_bytes = max(short_bytes, counted_bytes - limit_bytes)
        removed = []
        for picture in kept:
            if excess_bytes > 0 and picture.fetched:
                try:
                    self._files.path(picture.job_id).unlink(missing_ok=True)  # first, so that none is left which nobody knows
                except OSError:  # on Windows, while somebody looks at it
                    continue
                self._ledger.forget_result(picture.job_id)
                excess_bytes -= picture.size_bytes
                removed.append(picture.job_id)
        return removed

    def check(self, who: Listed) -> None:
        """Raise NotNow where pictures that nobody has fetched fill it, or the share of this client: one more could not be kept.

        RequestError where the quota is nothing, which does not pass.
        """
        unfetched = [picture for picture in self._ledger.results() if not picture.fetched]
        unfetched_bytes = sum(picture.size_bytes for picture in unfetched)
        if unfetched_bytes >= self._limit_bytes:
            raise (NotNow if unfetched_bytes else RequestError)(
                f"Pictures that nobody has fetched fill {unfetched_bytes} bytes, the quota is {self._limit_bytes}: "
                "fetch some, or serve with a larger one."
            )
        own_bytes = sum(picture.size_bytes for picture in unfetched if picture.owner == who.name)
        own_bytes += self._ledger.request_bytes(who.name)
        if own_bytes >= who.stored_bytes:
            raise (NotNow if own_bytes else RequestError)(
                f"Pictures that '{who.name}' has not fetched and requests that wait fill {own_bytes} bytes, the quota of this "
                f"key is {who.stored_bytes}: fetch some."
            )


def picture_in(folder: Path, picture_format: PictureFormat = "png") -> Path:
    """Where the worker of an attempt writes its picture; the suffix says in which format."""
    return folder / f"picture.{picture_format}"
