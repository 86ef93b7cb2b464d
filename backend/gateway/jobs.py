"""The life of a job, from Accepted to its one ending. Knows no sockets, no processes and no clock."""

from typing import Any

import msgspec

from ...protocol import Accepted, Cancelled, DeviceInfo, Done, Failed, Finished, Started, Stopping, Submit, digest_of
from ...protocol.messages import JobState
from .ledger import ENDED, DurableEvent, Job, Ledger

ATTEMPTS = 2  # a job whose worker was lost is tried once more

MOVES: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"queued", "finished", "failed", "cancelled"}),
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

    def find(self, submit: Submit) -> Job | None:
        """The job that this message has already made, if any. Raises JobConflict if another message has its id."""
        job = self.ledger.job(submit.job_id)
        if job is not None and job.digest != digest_of_submit(submit):
            raise JobConflict(f"The job id {submit.job_id} is taken by another request: make a new id for each picture.")
        return job

    def submit(self, submit: Submit, payload: tuple[memoryview | bytes, ...] = ()) -> Job:
        """Put a new job at the end of the queue."""
        job = Job(submit=submit, payload=payload, digest=digest_of_submit(submit))
        return self._record(job, Accepted, position=len(self.ledger.live()))

    def waiting(self) -> list[Job]:
        return [job for job in self.ledger.live() if job.state == "queued"]

    def running(self) -> list[Job]:
        return [job for job in self.ledger.live() if job.state == "running"]

    def current(self, job_id: str, attempt: int) -> Job | None:
        """The running job of which this is the newest attempt; None for a word from an attempt that was given up."""
        job = self.ledger.job(job_id)
        return job if job is not None and job.state == "running" and job.attempt == attempt else None

    def start(self, job: Job, device: DeviceInfo) -> Job:
        """A worker takes the job: a new attempt."""
        attempt = job.attempt + 1
        return self._record(job, Started, to="running", change={"attempt": attempt}, attempt=attempt, device=device)

    def wish_cancel(self, job: Job) -> Job:
        """End the job if it waits, note the wish if it runs; a job that has ended stays as it is."""
        if job.state == "queued":
            return self.cancel(job)
        if job.state == "running" and not job.stopping:
            return self._record(job, Stopping, change={"stopping": True})
        return job

    def finish(self, job: Job, done: Done) -> Job:
        """The picture is published."""
        facts = {name: getattr(done, name) for name in ("width", "height", "media_type", "size_bytes", "digest", "times")}
        return self._record(job, Finished, to="finished", **facts)

    def fail(self, job: Job, message: str) -> Job:
        return self._record(job, Failed, to="failed", message=message[:4000])

    def cancel(self, job: Job) -> Job:
        return self._record(job, Cancelled, to="cancelled")

    def lose(self, job: Job, reason: str) -> Job:
        """The worker of a running job is gone: try the job again, or end it."""
        if job.stopping:
            return self.cancel(job)
        if job.attempt >= ATTEMPTS:
            return self.fail(job, f"{reason} It was tried {job.attempt} times.")
        job = self._moved(job, "queued")
        self.ledger.commit(job)
        return job

    def _record(
        self,
        job: Job,
        event: type[DurableEvent],
        *,
        to: JobState | None = None,
        change: dict[str, Any] | None = None,
        **facts: Any,
    ) -> Job:
        made = event(job_id=job.id, seq=job.next_seq, **facts)
        if to is not None:
            job = self._moved(job, to)
        job = msgspec.structs.replace(job, next_seq=job.next_seq + 1, **change or {})
        self.ledger.commit(job, made)
        return job

    @staticmethod
    def _moved(job: Job, state: JobState) -> Job:
        if state not in MOVES[job.state]:
            raise JobError(f"job {job.id} cannot become {state}: it is {job.state}")
        return msgspec.structs.replace(job, state=state, payload=() if state in ENDED else job.payload)


def digest_of_submit(submit: Submit) -> str:
    """Of the request, the model set and the arrays: two messages with the same digest ask for the same picture."""
    return digest_of(msgspec.msgpack.encode([submit.request, submit.models, submit.arrays], order="deterministic"))
