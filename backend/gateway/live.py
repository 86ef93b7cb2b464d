"""What is worth its newest only: progress and preview of the running jobs, one slot per job and kind."""

from msgspec import Struct
from msgspec.structs import replace

from ...protocol import JobCheckpoint, JobPreview, JobProgress, Previewed, Progressed
from ...protocol.messages import Message
from ...protocol.orders import PREVIEW_LIMIT_BYTES

NOWHERE = (0.0, 0, 0)


class Slot(Struct, frozen=True):
    """The newest message of one kind, and how many there have been."""

    version: int
    message: Message
    payload: tuple[memoryview | bytes, ...] = ()


Place = tuple[float, int, int]  # fraction, level, step: a fraction stands still near the end of work that was underestimated


class Pace(Struct, frozen=True):
    """Where an attempt stood when it was first heard of, to tell how long the rest takes, and where it is now."""

    attempt: int
    fraction: float
    at_s: float
    reached: Place


class Live:
    """The slots of all running jobs. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, type[Message]], Slot] = {}
        self._paces: dict[str, Pace] = {}
        self._kept: dict[str, Place] = {}  # where a job was at its furthest checkpoint

    def advance(self, report: JobProgress, seq: int, now_s: float) -> None:
        """Take over a worker's progress. `seq` is that of the job's newest durable event."""
        pace = self._paces.get(report.job_id)
        if pace is None or pace.attempt != report.attempt:
            pace = Pace(report.attempt, report.fraction, now_s, NOWHERE)
        self._paces[report.job_id] = replace(pace, reached=(report.fraction, report.level, report.step))
        progress = Progressed(
            job_id=report.job_id,
            seq=seq,
            stage=report.stage,
            level=report.level,
            levels=report.levels,
            step=report.step,
            steps=report.steps,
            fraction=max(self.fraction(report.job_id), report.fraction),  # a second attempt starts behind the first
            remaining_s=remaining(pace, report.fraction, now_s),
        )
        self._put(progress, report.job_id)

    def keep(self, report: JobCheckpoint) -> bool:
        """Note a checkpoint where the job is; whether it is further than all before it, those of other attempts included."""
        pace, furthest = self._paces.get(report.job_id), self._kept.get(report.job_id)
        reached = pace.reached if pace is not None and pace.attempt == report.attempt else NOWHERE
        further = furthest is None or reached > furthest
        if further:
            self._kept[report.job_id] = reached
        return further

    def sketch(self, report: JobPreview, jpeg: memoryview | bytes, seq: int) -> None:
        """Take over a worker's preview, unless it is too large."""
        if len(jpeg) <= PREVIEW_LIMIT_BYTES:
            self._put(Previewed(job_id=report.job_id, seq=seq, width=report.width, height=report.height), report.job_id, jpeg)

    def newest(self, job_id: str, kind: type[Message]) -> Slot | None:
        return self._slots.get((job_id, kind))

    def fraction(self, job_id: str) -> float:
        """Of the work of a running job that is done; 0 while nothing was heard of it."""
        slot = self.newest(job_id, Progressed)
        return slot.message.fraction if slot is not None and isinstance(slot.message, Progressed) else 0.0

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        self._paces.pop(job_id, None)
        self._kept.pop(job_id, None)
        for kind in (Progressed, Previewed):
            self._slots.pop((job_id, kind), None)

    def _put(self, message: Message, job_id: str, *payload: memoryview | bytes) -> None:
        before = self.newest(job_id, type(message))
        self._slots[job_id, type(message)] = Slot(before.version + 1 if before else 1, message, payload)


def remaining(pace: Pace, fraction: float, now_s: float) -> float | None:
    """Seconds until the end at the pace so far; None while too little is known."""
    gone_s, done = now_s - pace.at_s, fraction - pace.fraction
    return gone_s * (1 - fraction) / done if gone_s >= 1 and done >= 0.02 else None
