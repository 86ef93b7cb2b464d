"""Any order of wishes, reports and crashes: the ledger says what a model in plain dictionaries says."""

import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from beyondscene.backend.gateway.jobs import LOSSES, JobConflict, JobError, Jobs
from beyondscene.backend.gateway.ledger import Job, Ledger
from beyondscene.protocol import DeviceInfo, JobDone, Submit
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from .talk import picture

WORKERS = 2
DEVICE = DeviceInfo(kind="cpu", name="none")
FACTS = {"width": 64, "height": 64, "media_type": "image/png", "size_bytes": 9, "digest": "0" * 64}


class Model:
    """One job as it should be."""

    def __init__(self, submit: Submit) -> None:
        self.submit = submit
        self.state, self.attempt, self.losses, self.stopping = "queued", 0, 0, False
        self.told = ["Accepted"]

    def end(self, how: str) -> None:
        self.state = how
        self.told.append(how.capitalize())

    def lose(self, counts: bool) -> None:
        if self.stopping:
            self.end("cancelled")
            return
        self.losses += counts
        if self.losses >= LOSSES:
            self.end("failed")
        else:
            self.state = "queued"


class LedgerMachine(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.lives = 0
        self.jobs = Jobs(Ledger(self.path))
        self.models: dict[str, Model] = {}

    @property
    def path(self) -> Path:
        return self.folder / str(self.lives) / "ledger.sqlite" if self.lives else self.folder / "ledger.sqlite"

    def teardown(self) -> None:
        self.jobs.ledger.close()
        shutil.rmtree(self.folder)

    def job(self, job_id: str) -> Job:
        job = self.jobs.ledger.job(job_id)
        assert job is not None
        return job

    @rule(target=ids, priority=st.integers(-1, 1))
    def submit(self, priority: int) -> str:
        submit = Submit(job_id=str(uuid.UUID(int=len(self.models))), request=picture(), priority=priority)
        job = self.jobs.submit(submit, [b"mask"])
        self.models[job.id] = Model(submit)
        return job.id

    @rule(job_id=ids)
    def submit_again(self, job_id: str) -> None:
        submit = self.models[job_id].submit
        assert self.jobs.find(submit) == self.job(job_id)
        with pytest.raises(JobConflict):
            self.jobs.find(replace(submit, request=picture(seed=2)))
        with pytest.raises(JobConflict):
            self.jobs.find(submit, "somebody else")

    @rule()
    def start_next(self) -> None:
        if self.jobs.waiting() and len(self.jobs.running()) < WORKERS:
            job = self.jobs.start(self.jobs.waiting()[0], DEVICE)
            model = self.models[job.id]
            model.state, model.attempt = "running", model.attempt + 1
            model.told.append("Started")

    @rule(job_id=ids)
    def wish_cancel(self, job_id: str) -> None:
        self.jobs.wish_cancel(self.job(job_id))
        model = self.models[job_id]
        if model.state in ("queued", "paused"):
            model.end("cancelled")
        elif model.state == "running" and not model.stopping:
            model.stopping = True
            model.told.append("Stopping")

    @rule(job_id=ids, behind=st.integers(0, 1), word=st.sampled_from(["kept", "done", "broke", "lost"]))
    def report(self, job_id: str, behind: int, word: str) -> None:
        """A worker's word; from an attempt that was given up it changes nothing."""
        model = self.models[job_id]
        job = self.jobs.current(job_id, model.attempt - behind)
        assert (job is not None) == (model.state == "running" and not behind)
        if job is None:
            return
        match word:
            case "kept":
                self.jobs.get_further(job)
                model.losses = 0
            case "done" if not model.stopping:
                self.jobs.finish(job, JobDone(job_id=job_id, attempt=job.attempt, **FACTS))
                model.end("finished")
            case "broke" if not model.stopping:
                self.jobs.fail(job, "It broke.")
                model.end("failed")
            case "lost":
                self.jobs.lose(job, "It died.")
                model.lose(counts=True)

    @rule(job_id=ids)
    def disk_full(self, job_id: str) -> None:
        model = self.models[job_id]
        if model.state in ("queued", "running") and not model.stopping:
            self.jobs.pause(self.job(job_id), 1000, 10)
            model.state = "paused"
            model.told.append("Paused")

    @rule(job_id=ids)
    def room_again(self, job_id: str) -> None:
        if self.models[job_id].state == "paused":
            assert self.jobs.needed_bytes(self.job(job_id)) == 1000
            self.jobs.go_on(self.job(job_id))
            self.models[job_id].state = "queued"

    @rule(job_id=ids)
    def end_twice(self, job_id: str) -> None:
        if self.models[job_id].state in ("finished", "failed", "cancelled"):
            with pytest.raises(JobError):
                self.jobs.cancel(self.job(job_id))

    @rule()
    def crash(self) -> None:
        """The next gateway finds the files as they are at this moment, open and unfinished."""
        before = self.path
        self.lives += 1
        self.path.parent.mkdir()
        for file in before.parent.glob("ledger.sqlite*"):
            shutil.copy(file, self.path.parent)
        self.jobs.ledger.close()
        self.jobs = Jobs(Ledger(self.path))
        self.jobs.resume()
        for model in self.models.values():
            if model.state == "running":
                model.lose(counts=False)

    @invariant()
    def agrees(self) -> None:
        ledger = self.jobs.ledger
        for job_id, model in self.models.items():
            job, events = self.job(job_id), ledger.events(job_id)
            assert (job.state, job.attempt, job.losses, job.stopping) == (
                model.state, model.attempt, model.losses, model.stopping
            )  # fmt: skip
            assert [type(event).__name__ for event in events] == model.told
            assert [event.seq for event in events] == list(range(job.next_seq))
            assert ledger.frames(job_id) == ([] if job.ended else [b"mask"])
        live = [job_id for job_id, model in self.models.items() if model.state in ("queued", "running", "paused")]
        assert [job.id for job in ledger.live()] == live
        queued = [job_id for job_id in live if self.models[job_id].state == "queued"]
        queued.sort(key=lambda job_id: -self.models[job_id].submit.priority)
        assert [job.id for job in self.jobs.waiting()] == queued
        finished = {job_id for job_id, model in self.models.items() if model.state == "finished"}
        assert {one.job_id for one in ledger.results()} == finished


LedgerMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestLedger = LedgerMachine.TestCase
