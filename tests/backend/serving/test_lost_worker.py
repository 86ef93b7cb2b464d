"""A worker process that dies, hangs or never comes up."""

import signal
import sys

from beyondscene.protocol import Failed, Finished, Progressed

from .conftest import Connect, Start
from .talk import attempts, endings, picture


def test_killed_from_outside(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    undisturbed = talk.submit(picture(seed=5, steps=30))
    reference = talk.hear_until(Finished, undisturbed)
    job_id = talk.submit(picture(seed=5, steps=30))
    talk.hear_until(Progressed, job_id)
    gateway.worker().send_signal(signal.SIGKILL)
    finished = talk.hear_until(Finished, job_id)
    assert attempts(talk.of(job_id)) == [1, 2]
    assert finished.digest == reference.digest
    assert len(endings(talk.of(job_id))) == 1
    fractions = [event.fraction for event in talk.of(job_id) if isinstance(event, Progressed)]
    assert fractions == sorted(fractions)


def test_killed_by_the_job_but_getting_further(start: Start, connect: Connect) -> None:
    talk = connect(start())
    job_id = talk.submit(picture("fragile"))
    talk.hear_until(Finished, job_id)
    assert attempts(talk.of(job_id)) == [1, 2, 3]


def test_killed_by_the_job_each_time(start: Start, connect: Connect) -> None:
    talk = connect(start())
    job_id, next_id = talk.submit(picture("fatal")), talk.submit(picture())
    failed = talk.hear_until(Failed, job_id)
    assert "exit code 7" in failed.message
    assert "tried 3 times without getting further" in failed.message
    talk.hear_until(Finished, next_id)


def test_frozen(start: Start, connect: Connect) -> None:
    gateway = start(worker_silence_s=6)
    talk = connect(gateway)
    job_id = talk.submit(picture(steps=100))
    talk.hear_until(Progressed, job_id)
    gateway.worker().suspend()
    talk.hear_until(Finished, job_id)
    assert attempts(talk.of(job_id)) == [1, 2]
    assert "no sign of life" in gateway.log()


def test_never_comes_up(start: Start, connect: Connect) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such pipeline')")
    talk = connect(start(worker_command=command))
    job_id = talk.submit(picture())
    failed = talk.hear_until(Failed, job_id)
    assert "exit code 1" in failed.message
    assert "no such pipeline" in failed.message
