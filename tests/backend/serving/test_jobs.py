"""The life of a job, without processes."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from beyondscene.backend.gateway.allow_list import Listed
from beyondscene.backend.gateway.files import JobFiles, Quota
from beyondscene.backend.gateway.jobs import JobConflict, JobError, Jobs
from beyondscene.backend.gateway.ledger import Job, Ledger
from beyondscene.backend.gateway.live import Live
from beyondscene.backend.gateway.room import NotNow
from beyondscene.backend.gateway.settings import GIB
from beyondscene.protocol import DeviceInfo, Failed, JobDone, JobProgress, Progressed, Submit
from msgspec.structs import replace

from .talk import picture

DEVICE = DeviceInfo(kind="cpu", name="none")


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Ledger(tmp_path / "ledger.sqlite"))


def submitted(jobs: Jobs, **changes: object) -> Job:
    return jobs.submit(Submit(job_id=str(uuid.uuid4()), request=picture(), **changes), (b"mask",))  # pyright: ignore


def done(job: Job, attempt: int) -> JobDone:
    return JobDone(job_id=job.id, attempt=attempt, width=64, height=64, media_type="image/png", size_bytes=9, digest="0" * 64)


def kinds(jobs: Jobs, job: Job) -> list[str]:
    events = jobs.ledger.events(job.id)
    assert [event.seq for event in events] == list(range(len(events)))
    return [type(event).__name__ for event in events]


def test_from_queue_to_picture(jobs: Jobs) -> None:
    job = jobs.start(submitted(jobs), DEVICE)
    assert (job.state, job.attempt, jobs.ledger.frames(job.id)) == ("running", 1, [b"mask"])
    job = jobs.finish(job, replace(done(job, 1), remarks=("'Ana' is not in it.",)))
    assert (job.state, jobs.ledger.frames(job.id)) == ("finished", [])
    assert getattr(jobs.last_event(job), "remarks", None) == ("'Ana' is not in it.",)
    assert kinds(jobs, job) == ["Accepted", "Started", "Finished"]
    assert not jobs.ledger.live()


def test_an_ended_job_does_not_end_again(jobs: Jobs) -> None:
    job = jobs.start(submitted(jobs), DEVICE)
    ended = jobs.finish(job, done(job, 1))
    for move in (lambda: jobs.fail(ended, "no"), lambda: jobs.cancel(ended), lambda: jobs.start(ended, DEVICE)):
        with pytest.raises(JobError, match="it is finished"):
            move()
    assert jobs.wish_cancel(ended) == ended
    assert kinds(jobs, job) == ["Accepted", "Started", "Finished"]


def test_words_of_a_stale_attempt_find_no_job(jobs: Jobs) -> None:
    job = jobs.start(submitted(jobs), DEVICE)
    assert jobs.current(job.id, 1) == job
    job = jobs.lose(job, "It died.")
    assert jobs.current(job.id, 1) is None  # while it waits again
    job = jobs.start(job, DEVICE)
    assert jobs.current(job.id, 1) is None  # while the next attempt runs
    assert jobs.current(job.id, 2) == job
    jobs.finish(job, done(job, 2))
    assert jobs.current(job.id, 2) is None  # after its end
    assert kinds(jobs, job) == ["Accepted", "Started", "Started", "Finished"]


def test_a_lost_job_goes_first_and_is_given_up_when_it_gets_no_further(jobs: Jobs) -> None:
    first, second = submitted(jobs), submitted(jobs)
    first = jobs.lose(jobs.start(first, DEVICE), "It died.")
    assert [job.id for job in jobs.waiting()] == [first.id, second.id]
    first = jobs.lose(jobs.start(first, DEVICE), "It died.")
    first = jobs.lose(jobs.get_further(jobs.start(first, DEVICE)), "It died.")  # a checkpoint sets the count back
    first = jobs.lose(jobs.start(first, DEVICE), "It died.")
    assert first.state == "queued"
    first = jobs.lose(jobs.start(first, DEVICE), "It died again.")
    assert first.state == "failed"
    last = jobs.ledger.events(first.id)[-1]
    assert isinstance(last, Failed) and last.message == "It died again. It was tried 3 times without getting further."


def test_a_wish_to_cancel_outlives_the_worker(jobs: Jobs) -> None:
    job = jobs.wish_cancel(jobs.start(submitted(jobs), DEVICE))
    assert jobs.wish_cancel(job) == job  # wishing twice is harmless
    assert jobs.lose(job, "It died.").state == "cancelled"
    assert kinds(jobs, job) == ["Accepted", "Started", "Stopping", "Cancelled"]


def test_whatever_a_worker_said_at_its_end_the_next_gateway_can_read_it(tmp_path: Path) -> None:
    jobs = Jobs(Ledger(tmp_path / "ledger.sqlite"))
    job = jobs.fail(submitted(jobs), "Its last words: " + "x" * 4096)
    jobs.ledger.close()
    jobs = Jobs(Ledger(tmp_path / "ledger.sqlite"))
    last = jobs.last_event(job)
    assert isinstance(last, Failed) and len(last.message) == 4000
    jobs.ledger.close()


def test_requests_fill_the_share_of_their_client_until_their_jobs_have_ended(jobs: Jobs, tmp_path: Path) -> None:
    quota = Quota(jobs.ledger, JobFiles(tmp_path), GIB)
    ann, ben = (Listed(name=name, public_key=40 * name[0], stored_bytes=100) for name in ("Ann", "Ben"))
    job = jobs.submit(Submit(job_id=str(uuid.uuid4()), request=picture()), (bytes(100),), "Ann")
    with pytest.raises(NotNow, match=r"'Ann' has not fetched and requests that wait fill \d+ bytes"):
        quota.check(ann)
    quota.check(ben)
    jobs.cancel(job)
    quota.check(ann)


def test_the_same_id_for_another_picture(jobs: Jobs) -> None:
    job = submitted(jobs)
    assert job.submit is not None
    assert jobs.find(job.submit) == job
    assert jobs.find(replace(job.submit, job_id=str(uuid.uuid4()))) is None
    for other in (replace(job.submit, request=picture(seed=9)), replace(job.submit, models="sdxl")):
        with pytest.raises(JobConflict, match="taken by another request"):
            jobs.find(other)
    with pytest.raises(JobConflict, match="taken by another request"):
        jobs.find(job.submit, "somebody else")


def test_the_highest_priority_goes_first_then_the_oldest(jobs: Jobs) -> None:
    order = [submitted(jobs, priority=priority) for priority in (0, -5, 7, 0, 7)]
    assert [job.id for job in jobs.waiting()] == [order[place].id for place in (2, 4, 0, 3, 1)]
    positions = [jobs.ledger.events(job.id)[0].position for job in order]  # pyright: ignore
    assert positions == [0, 1, 0, 2, 1]  # those before it when it came


def test_a_paused_job_waits_for_room_and_can_be_cancelled(jobs: Jobs) -> None:
    first, second = submitted(jobs), submitted(jobs)
    first = jobs.pause(jobs.start(first, DEVICE), needed_bytes=1000, free_bytes=10)
    assert [job.id for job in jobs.waiting()] == [second.id] and not jobs.running()
    assert jobs.needed_bytes(first) == 1000
    jobs.resume()  # another gateway
    assert [job.id for job in jobs.paused()] == [first.id]
    first = jobs.start(jobs.go_on(first), DEVICE)
    assert (first.attempt, first.losses) == (2, 0)
    assert kinds(jobs, first) == ["Accepted", "Started", "Paused", "Started"]
    assert jobs.wish_cancel(jobs.pause(second, 1000, 10)).state == "cancelled"


def test_a_request_of_another_version_fails_its_job_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    jobs = Jobs(Ledger(path))
    odd, running, good = submitted(jobs), jobs.start(submitted(jobs), DEVICE), submitted(jobs)
    jobs.ledger.close()
    with closing(sqlite3.connect(path)) as database:
        for job in (odd, running):
            database.execute("UPDATE jobs SET submit = json_set(submit, '$.request.width', 'wide') WHERE id = ?", (job.id,))
        database.commit()
    jobs = Jobs(Ledger(path))
    jobs.resume()
    assert [job.id for job in jobs.waiting()] == [good.id]
    for job in (odd, running):
        last = jobs.ledger.events(job.id)[-1]
        assert isinstance(last, Failed) and "cannot read its request (Expected `int`" in last.message
        assert last.message.endswith("submit it again.")
    assert [job.state for job in jobs.ledger.newest(9)] == ["failed", "failed", "queued"]
    assert odd.submit is not None and jobs.find(odd.submit) is not None  # its end is the answer
    jobs.ledger.close()


def test_old_jobs_are_forgotten_unless_their_picture_is_kept(tmp_path: Path) -> None:
    jobs = Jobs(Ledger(tmp_path / "ledger.sqlite", ended_jobs=2))
    submitted(jobs)  # one that waits takes nobody's place
    job = jobs.start(submitted(jobs), DEVICE)
    finished = jobs.finish(job, done(job, 1))
    ended = [jobs.cancel(submitted(jobs)) for _ in range(3)]
    assert [jobs.ledger.job(job.id) is None for job in (finished, *ended)] == [False, True, False, False]
    assert not jobs.ledger.events(ended[0].id)
    assert [job.id for job in jobs.ledger.newest(2)] == [job.id for job in ended[1:]]


def test_progress_keeps_the_newest_and_never_goes_back() -> None:
    live = Live()

    def advance(fraction: float, attempt: int, now_s: float) -> Progressed:
        live.advance(JobProgress(job_id="a", attempt=attempt, stage="enlarge", fraction=fraction), 1, now_s)
        slot = live.newest("a", Progressed)
        assert slot is not None and isinstance(slot.message, Progressed)
        return slot.message

    assert advance(0.0, 1, 100.0).remaining_s is None
    assert advance(0.5, 1, 110.0).remaining_s == 10.0
    again = advance(0.25, 2, 120.0)
    assert (again.fraction, again.remaining_s) == (0.5, None)  # at what pace a second attempt goes is not known yet
    slot = live.newest("a", Progressed)
    assert slot is not None and slot.version == 3
    live.forget("a")
    assert live.newest("a", Progressed) is None
