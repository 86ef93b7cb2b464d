"""Where jobs and their events are kept: a small port, and the form of it that lives in memory."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from ...protocol import Accepted, Cancelled, Failed, Finished, Started, Stopping, Submit
from ...protocol.messages import JobState

DurableEvent = Accepted | Started | Stopping | Finished | Failed | Cancelled
ENDED: frozenset[JobState] = frozenset({"finished", "failed", "cancelled"})


class Job(Struct, frozen=True, kw_only=True):
    """One job as it stands; every change makes a new one."""

    submit: Submit
    payload: tuple[memoryview | bytes, ...] = ()  # the arrays' frames; dropped when the job ends
    digest: str  # of what is asked for, whatever the job is called
    state: JobState = "queued"
    attempt: int = 0  # of its newest start; 0 before the first
    stopping: bool = False  # a client wishes its end
    next_seq: int = 0  # of the event that comes next

    @property
    def id(self) -> str:
        return self.submit.job_id

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Ledger(Protocol):
    """Jobs in order of arrival, and for each the events that no client may miss, numbered from 0 without a gap."""

    def commit(self, job: Job, event: DurableEvent | None = None) -> None:
        """Keep `job` as it now stands and the event that made it so: both or neither."""
        ...

    def job(self, job_id: str) -> Job | None: ...

    def live(self) -> Sequence[Job]:
        """The jobs that have not ended, in order of arrival."""
        ...

    def events(self, job_id: str, since_seq: int = 0) -> Sequence[DurableEvent]: ...


class MemoryLedger:
    """A ledger for one run of the gateway. Of the ended jobs it remembers the newest `ended_jobs`."""

    def __init__(self, ended_jobs: int = 1000) -> None:
        self._ended_jobs = ended_jobs
        self._jobs: dict[str, Job] = {}
        self._live: dict[str, Job] = {}
        self._ended: deque[str] = deque()
        self._events: dict[str, list[DurableEvent]] = {}

    def commit(self, job: Job, event: DurableEvent | None = None) -> None:
        self._jobs[job.id] = job
        if event is not None:
            self._events.setdefault(job.id, []).append(event)
        if not job.ended:
            self._live[job.id] = job  # keeps its place if it was there
        elif self._live.pop(job.id, None):
            self._ended.append(job.id)
            if len(self._ended) > self._ended_jobs:
                oldest = self._ended.popleft()
                del self._jobs[oldest], self._events[oldest]

    def job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def live(self) -> Sequence[Job]:
        return tuple(self._live.values())

    def events(self, job_id: str, since_seq: int = 0) -> Sequence[DurableEvent]:
        return self._events.get(job_id, [])[since_seq:]
