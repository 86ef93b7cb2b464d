"""How many pictures may be sent to the backend now: the others wait in Blender."""

import time
from collections.abc import Iterable

from .job import Job

LATER_S = 10.0  # after which a backend that takes nothing for now is asked again, where no job ends before


class SendQueue:
    """As many as the backend lets wait are sent at once, to one that was crowded one at a time.

    crowded: why it takes no more for now, until it takes one again.
    """

    def __init__(self) -> None:
        self.crowded = ""
        self._one_by_one = False  # since it was crowded, until it has taken all
        self._later_s = 0.0  # when it is asked again

    def reset(self) -> None:
        """For another backend."""
        self.crowded, self._one_by_one, self._later_s = "", False, 0.0

    def refuse(self, why: str) -> None:
        """It takes no more for now."""
        self.crowded, self._one_by_one, self._later_s = why, True, time.monotonic() + LATER_S

    def end(self) -> None:
        """A job has ended, so there may be room."""
        self._later_s = 0.0

    def choose(self, jobs: Iterable[Job], most: int) -> list[Job]:
        """Those of `jobs` to send now. most: as many of ours as the backend lets wait."""
        jobs = list(jobs)
        sent, waiting = [job for job in jobs if job.sent], [job for job in jobs if not job.sent]
        unanswered = any(job.request and not job.accepted for job in sent)
        if not waiting and not unanswered:
            self.crowded, self._one_by_one = "", False
        if time.monotonic() < self._later_s:
            return []
        room = max(1, most) - len(sent)
        if self._one_by_one:
            room = min(room, 0 if unanswered else 1)
        return waiting[: max(0, room)]
