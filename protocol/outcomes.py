"""What a client hears beside the backend's own events: the end of the conversation, and what became of a picture."""

from pathlib import Path

from msgspec import Struct

from .events import Finished


class Lost(Struct, frozen=True, kw_only=True):
    """The conversation is over; no more will come. The message says why and what to do next.

    passing: nobody was heard, which another conversation may mend by itself.
    """

    message: str
    passing: bool = False


class Saved(Struct, frozen=True, kw_only=True):
    """The picture of a job is at `path`, whole: its digest is the announced one.

    path: the one that was asked for; where a client overwrites nothing, one beside it if that was there already.
    """

    job_id: str
    path: Path
    finished: Finished


class Spoilt(Struct, frozen=True, kw_only=True):
    """The picture of a job was made but could not be brought here.

    kept: whether to follow the job again may bring it, because only the disk was in the way.
    """

    job_id: str
    message: str
    kept: bool = False


def say_unwritable(job_id: str, path: Path, error: OSError) -> Spoilt:
    message = (
        f"The picture cannot be written to {path.parent} ({error.strerror}): make room there or put the folder right, then "
        "connect to the backend again; it still has the picture."
    )
    return Spoilt(job_id=job_id, message=message, kept=True)
