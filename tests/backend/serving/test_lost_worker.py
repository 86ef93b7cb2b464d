"""A worker process that dies, hangs or never comes up."""

import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from beyondscene.backend.gateway.settings import own_worker_command
from beyondscene.backend.gateway.supervisor import is_stuck
from beyondscene.backend.line import Pulse
from beyondscene.backend.watch import RenderResult
from beyondscene.backend.worker import do_work
from beyondscene.protocol import Accepted, Failed, Finished, Heartbeat, JobFailed, Progressed, RenderRequest, RunJob, Subscribe
from msgspec.structs import replace

from .conftest import Connect, Start
from .talk import PATIENCE_S, attempts, endings, picture, wait_until


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("HIP error: an illegal memory access was encountered", True),  # what ROCm's torch says
        ("CUDA error: out of memory", False),
        ("HIP error: out of memory", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_process_whose_device_is_lost_ends_so_that_the_next_one_takes_the_job_up(
    words: str, lost: bool, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> RenderResult:
        raise RuntimeError(words)

    work = RunJob(
        job_id="01a", attempt=1, models="embedded", request=RenderRequest(width=64, height=64, prompt="a field"), arrays=(),
        result_path=str(tmp_path / "out.png"),
    )  # fmt: skip
    line: Any = SimpleNamespace(report=lambda *_: None)
    if lost:
        with pytest.raises(RuntimeError, match=words):
            do_work(work, [], fail, line, "tests")
    else:
        assert isinstance(do_work(work, [], fail, line, "tests"), JobFailed)


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


def test_killed_for_want_of_memory(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture("large", steps=1))
    talk.hear_until(Finished, job_id)
    assert attempts(talk.of(job_id)) == [1, 2]


def test_killed_by_the_job_where_each_attempt_keeps_the_same_again(start: Start, connect: Connect) -> None:
    talk = connect(start())
    job_id = talk.submit(picture("forgetful"))
    assert "without getting further" in talk.hear_until(Failed, job_id).message
    assert attempts(talk.of(job_id)) == [1, 2, 3]


def test_frozen(start: Start, connect: Connect) -> None:
    gateway = start(worker_silence_s=6)
    talk = connect(gateway)
    job_id = talk.submit(picture(steps=100))
    talk.hear_until(Progressed, job_id)
    gateway.worker().suspend()
    talk.hear_until(Finished, job_id)
    assert attempts(talk.of(job_id)) == [1, 2]
    assert "no sign of life" in gateway.log()


def test_stuck_though_its_heart_beats(start: Start, connect: Connect) -> None:
    gateway = start(stuck_s=3)
    talk = connect(gateway)
    undisturbed = talk.hear_until(Finished, talk.submit(picture(seed=5, steps=30)))
    job_id = talk.submit(picture("stumbles", seed=5, steps=30))
    assert talk.hear_until(Finished, job_id).digest == undisturbed.digest
    assert attempts(talk.of(job_id)) == [1, 2]
    assert "did not get on with it for" in gateway.log()
    steps = (gateway.data_folder / "steps.log").read_text().split()
    assert steps.count(job_id) == 30 + 3  # 10 steps were kept of the 13


@pytest.mark.slow
def test_stuck_each_time(start: Start, connect: Connect) -> None:
    talk = connect(start(stuck_s=1))
    job_id, next_id = talk.submit(picture("stuck")), talk.submit(picture())
    assert "did not get on with it for" in talk.hear_until(Failed, job_id).message
    assert attempts(talk.of(job_id)) == [1, 2, 3]
    talk.hear_until(Finished, next_id)


def test_where_no_job_counts_as_stuck_none_is() -> None:
    beat = Heartbeat(quiet_s=1e6)
    assert is_stuck(beat, 1800) and not is_stuck(beat, None)


def test_a_slow_job_is_not_stuck() -> None:
    """Ten minutes are the limit; this job has needed two for a step, so that it may take forty for one."""
    pulse = Pulse()
    told = []
    with pulse.of_a_job():
        for seconds in (0, 1, 119, 1200, 1190, 10, 1000):
            if seconds == 1200:
                pulse.beat()
            told.append(pulse.heartbeat(None, seconds))
    assert [beat.quiet_s for beat in told] == [0, 1, 120, 0, 1190, 1200, 2200]
    assert not any(is_stuck(beat, 600) for beat in told)
    assert is_stuck(replace(told[-1], quiet_s=2401), 600)
    assert is_stuck(replace(told[-1], longest_quiet_s=1), 600)
    assert not is_stuck(pulse.heartbeat(None, 9999), 600)  # it has no job


def test_what_has_worked_before_is_waited_for(start: Start, connect: Connect, tmp_path: Path) -> None:
    """Another program has the GPU's memory for a while: that costs time, not jobs."""
    taken = tmp_path / "taken"
    stand_in = str(Path(__file__).with_name("stand_in_worker.py"))
    program = f"import os, runpy, sys; os.path.exists({str(taken)!r}) and sys.exit(1); "
    program += f"runpy.run_path({stand_in!r}, run_name='__main__')"
    gateway = start(worker_command=[sys.executable, "-c", program])
    talk = connect(gateway)
    talk.hear_until(Finished, talk.submit(picture(steps=1)))
    taken.touch()
    gateway.worker().kill()
    job_id = talk.submit(picture(steps=1))
    wait_until(lambda: "starts in 4 s" in gateway.log())  # three have failed
    taken.unlink()
    talk.hear_until(Finished, job_id)


def test_a_device_that_is_not_there_ends_the_gateway_and_no_job(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cuda:98", "cuda:99"], worker_command=own_worker_command())
    talk = connect(gateway)
    job_id = talk.submit(picture(steps=1))
    talk.hear_until(Accepted, job_id)
    wait_until(lambda: gateway.process.poll() is not None)
    _, errors = gateway.process.communicate(timeout=PATIENCE_S)
    assert "settings.ServeError: The device 'cuda:98' is not to be had: " in errors
    talk = connect(start(gateway))
    talk.say(Subscribe(job_id=job_id))
    talk.hear_until(Finished, job_id)


def test_never_comes_up(start: Start, connect: Connect) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such pipeline')")
    gateway = start(worker_command=command)
    talk = connect(gateway)
    job_id = talk.submit(picture())
    words = "The worker process ended with exit code 1. Its last words: 'no such pipeline'."
    assert words in talk.hear_until(Failed, job_id).message
    assert words in gateway.log()
