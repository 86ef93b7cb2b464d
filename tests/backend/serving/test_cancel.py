"""Cancel: what waits ends at once, what runs ends at its next step, what does not heed it is killed."""

import random
import time
import uuid

from beyondscene.protocol import Cancel, Cancelled, Finished, Progressed, Refused, Started, Stopping

from .audit import audit
from .conftest import Connect, Start
from .talk import endings, picture


def test_a_waiting_job(start: Start, connect: Connect) -> None:
    talk = connect(start())
    first, second = talk.submit(picture(steps=50)), talk.submit(picture())
    talk.hear_until(Started, first)
    talk.say(Cancel(job_id=second))
    talk.hear_until(Cancelled, second)
    assert not any(isinstance(event, Finished) for event in talk.heard)  # it did not wait for the first
    talk.hear_until(Finished, first)
    assert not any(isinstance(event, Started) for event in talk.of(second))


def test_a_running_job(start: Start, connect: Connect) -> None:
    gateway = start(halt_grace_s=2.0)
    talk = connect(gateway)
    pid = gateway.worker().pid
    first, second = talk.submit(picture(steps=999)), talk.submit(picture(steps=250))  # longer than the grace
    talk.hear_until(Progressed, first)
    said_s = time.monotonic()
    talk.say(Cancel(job_id=first))
    talk.hear_until(Stopping, first)
    acknowledged_s = time.monotonic() - said_s
    talk.hear_until(Cancelled, first)
    assert acknowledged_s < 0.5  # 0.1 on a machine with nothing else to do
    assert time.monotonic() - said_s < 1.5
    talk.hear_until(Finished, second)
    assert gateway.worker().pid == pid
    assert len(endings(talk.of(first))) == 1


def test_a_stuck_worker_is_replaced(start: Start, connect: Connect) -> None:
    gateway = start(halt_grace_s=0.5)
    talk = connect(gateway)
    pid = gateway.worker().pid
    first, second = talk.submit(picture("stuck")), talk.submit(picture())
    talk.hear_until(Progressed, first)
    talk.say(Cancel(job_id=first))
    talk.hear_until(Cancelled, first)
    talk.hear_until(Finished, second)
    assert gateway.worker().pid != pid
    assert not any(isinstance(event, Started) and event.attempt > 1 for event in talk.of(first))
    assert "did not stop" in gateway.log()


def test_a_job_that_has_ended_tells_its_end_again(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture())
    finished = talk.hear_until(Finished)
    other = connect(gateway)
    other.say(Cancel(job_id=job_id))
    assert other.hear_until(Finished) == finished
    other.say(Cancel(job_id=str(uuid.uuid4())))
    assert "knows no job" in other.hear_until(Refused).message


def test_cancelled_at_any_moment_a_job_has_one_end(start: Start, connect: Connect) -> None:
    """Before it starts, between claim and start, in any step, while it ends, after its end; once, twice, by a stranger too."""
    gateway = start(devices=["cpu", "cpu"])
    talk, other, dice = connect(gateway), connect(gateway), random.Random(1)
    talk.hear_until(Finished, talk.submit(picture(steps=1)))
    jobs = []
    for _ in range(40):
        jobs.append(talk.submit(picture(steps=5)))
        talk.hear(dice.uniform(0, 0.12))
        for one in dice.choices((talk, other), k=dice.randrange(1, 3)):
            one.say(Cancel(job_id=jobs[-1]))
    while len(endings([event for job_id in jobs for event in talk.of(job_id)])) < len(jobs):
        assert talk.hear() is not None
    while talk.hear(0.5):
        pass
    ends = {job_id: {type(event).__name__ for event in endings(talk.of(job_id))} for job_id in jobs}
    assert all(len(one) == 1 for one in ends.values())
    assert {name for one in ends.values() for name in one} <= {"Cancelled", "Finished"}
    gateway.process.terminate()
    gateway.process.communicate()
    states = audit(gateway.data_folder)
    assert {job_id: states[job_id].capitalize() for job_id in jobs} == {job_id: one.pop() for job_id, one in ends.items()}
