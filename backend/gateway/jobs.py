"""The life of a job, from Accepted to its one ending. Knows no sockets, no processes and no clock."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ...protocol import Accepted, Cancelled, DeviceInfo, Failed, Finished, JobDone, Paused, Started, Stopping, Submit
from ...protocol.messages import SENTENCE_LIMIT, JobState
from .ledger import ENDED, LOCAL, DurableEvent, Job, Ledger

LOSSES = 3  # workers that a job may lose in a row without getting further; then it is what kills them

MOVES: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"queued", "paused", "finished", "failed", "cancelled"}),
    "paused": frozenset({"queued", "failed", "cancelled"}),
    **{state: frozenset() for state in ENDED},
}


class JobConflict(ValueError):  # noqa: N818  (reads as what it is)
    """A job id is taken by another request."""


class JobError(RuntimeError):
    """A job was to make a move that its state does not allow: a slip in the gateway itself."""


class Jobs:
    """The jobs of a ledger and every change they can make.

    A job is handed out as it stands; a change takes one and returns its next form.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def resume(self) -> list[Job]:
        """After a start of the gateway: what ran when the last one ended waits again, at its old place.

        A job whose request this version cannot read fails; the others go on.
        """
        unreadable = [self.fail(job, unreadable_sentence(job)) for job in self.ledger.live() if job.submit is None]
        return unreadable + [self.cancel(job) if job.stopping else self._requeue(job) for job in self.running()]

    def find(self, submit: Submit, owner: str = LOCAL) -> Job | None:
        """The job that this message has already made, if any. Raises JobConflict if another message has its id."""
        job = self.ledger.job(submit.job_id)
        if job is None:
            return None
        if job.owner != owner or job.submit not in (submit, None):  # arrays are compared by digest
            raise JobConflict(f"The job id {submit.job_id} is taken by another request: make a new id for each picture.")
        return job

    def submit(self, submit: Submit, frames: Sequence[bytes | memoryview] = (), owner: str = LOCAL) -> Job:
        """Put a new job into the queue, behind those of its priority. frames: of its arrays."""
        before = len(self.running()) + sum(priority(job) >= submit.priority for job in self.waiting())
        return self._record(Job(id=submit.job_id, submit=submit, owner=owner), Accepted, frames=frames, position=before)

    def waiting(self) -> list[Job]:
        """In the order in which they are to start."""
        queued = [job for job in self.ledger.live() if job.state == "queued"]
        return sorted(queued, key=priority, reverse=True)  # keeps the order of arrival among equals

    def pending(self) -> list[Job]:
        """All that the gateway holds in memory for a later time: in the queue, or paused."""
        return [job for job in self.ledger.live() if job.state != "running"]

    def running(self) -> list[Job]:
        return [job for job in self.ledger.live() if job.state == "running"]

    def paused(self) -> list[Job]:
        return [job for job in self.ledger.live() if job.state == "paused"]

    def current(self, job_id: str, attempt: int) -> Job | None:
        """The running job of which this is the newest attempt; None for a word from an attempt that was given up."""
        job = self.ledger.job(job_id)
        return job if job is not None and job.state == "running" and job.attempt == attempt else None

    def start(self, job: Job, device: DeviceInfo) -> Job:
        """A worker takes the job: a new attempt."""
        attempt = job.attempt + 1
        return self._record(job, Started, to="running", change={"attempt": attempt}, attempt=attempt, device=device)

    def get_further(self, job: Job) -> Job:
        """A new checkpoint of a running job is on the disk: earlier losses were not its doing."""
        if job.losses:
            job = msgspec.structs.replace(job, losses=0)
            self.ledger.commit(job)
        return job

    def wish_cancel(self, job: Job) -> Job:
        """End the job if it waits, note the wish if it runs; a job that has ended stays as it is."""
        if job.state in ("queued", "paused"):
            return self.cancel(job)
        if job.state == "running" and not job.stopping:
            return self._record(job, Stopping, change={"stopping": True})
        return job

    def finish(self, job: Job, done: JobDone) -> Job:
        """The picture is published."""
        names = ("width", "height", "media_type", "size_bytes", "digest", "times", "remarks")
        facts = {name: getattr(done, name) for name in names}
        return self._record(job, Finished, to="finished", **facts)

    def pause(self, job: Job, needed_bytes: int, free_bytes: int) -> Job:
        """The disk is too full for the job."""
        words = (
            f"The backend's disk is full: the job needs {needed_bytes} bytes, {free_bytes} are free. It goes on by itself when "
            "there is room: delete something there."
        )
        return self._record(job, Paused, to="paused", needed_bytes=needed_bytes, free_bytes=free_bytes, message=words)

    def last_event(self, job: Job) -> DurableEvent:
        return self.ledger.events(job.id, job.next_seq - 1)[-1]

    def needed_bytes(self, job: Job) -> int:
        """What must be free before a paused job may go on."""
        last = self.last_event(job)
        assert isinstance(last, Paused)
        return last.needed_bytes

    def go_on(self, job: Job) -> Job:
        """There is room again for a paused job."""
        return self._requeue(job)

    def fail(self, job: Job, message: str) -> Job:
        return self._record(job, Failed, to="failed", message=message[:SENTENCE_LIMIT])

    def cancel(self, job: Job) -> Job:
        return self._record(job, Cancelled, to="cancelled")

    def lose(self, job: Job, reason: str) -> Job:
        """The worker of a running job is gone: try the job again, or end it."""
        if job.stopping:
            return self.cancel(job)
        losses = job.losses + 1
        if losses >= LOSSES:
            return self.fail(job, f"{reason} It was tried {losses} times without getting further.")
        return self._requeue(job, losses=losses)

    def _requeue(self, job: Job, **change: Any) -> Job:
        job = msgspec.structs.replace(self._moved(job, "queued"), **change)
        self.ledger.commit(job)
        return job

    def _record(
        self,
        job: Job,
        event: type[DurableEvent],
        *,
        to: JobState | None = None,
        change: dict[str, Any] | None = None,
        frames: Sequence[bytes | memoryview] = (),
        **facts: Any,
    ) -> Job:
        made = event(job_id=job.id, seq=job.next_seq, **facts)
        if to is not None:
            job = self._moved(job, to)
        job = msgspec.structs.replace(job, next_seq=job.next_seq + 1, **change or {})
        self.ledger.commit(job, made, frames)
        return job

    @staticmethod
    def _moved(job: Job, state: JobState) -> Job:
        if state not in MOVES[job.state]:
            raise JobError(f"job {job.id} cannot become {state}: it is {job.state}")
        return msgspec.structs.replace(job, state=state)


def priority(job: Job) -> int:
    return job.submit.priority if job.submit is not None else 0


def unreadable_sentence(job: Job) -> str:
    return (
        "Another version of beyondscene has accepted this job, and this one cannot read its request "
        f"({job.unreadable}): submit it again."
    )
