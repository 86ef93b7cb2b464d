"""Cancel: what waits ends at once, what runs ends at its next step, what does not heed it is killed."""

import time
import uuid

from beyondscene.protocol import Cancel, Cancelled, Finished, Progressed, Refused, Started, Stopping

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
    gateway = start()
    talk = connect(gateway)
    pid = gateway.worker().pid
    first, second = talk.submit(picture(steps=1000)), talk.submit(picture())
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
