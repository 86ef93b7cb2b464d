"""Several workers: jobs run at once, and what happens to one worker is nothing to the job of another."""

import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from beyondscene.backend.gateway import ServeError, ServeSettings, serve
from beyondscene.backend.gateway.workers import LEAVE_S
from beyondscene.protocol import (
    Cancel,
    Cancelled,
    Failed,
    Finished,
    Ping,
    Pong,
    Progressed,
    Started,
    Stopping,
    Subscribe,
)
from beyondscene.protocol.messages import Message

from .audit import audit, redone
from .conftest import Connect, Start
from .stand_in_worker import UNIT_STEPS
from .talk import PATIENCE_S, Running, Talk, attempts, picture, wait_until
from .test_metrics import free_port

STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in_worker.py"))]


def lines(gateway: Running) -> list[dict]:
    return [json.loads(line) for line in gateway.log().splitlines()]


def number_of(gateway: Running, job_id: str) -> int:
    """Of the worker at which the newest attempt of a job has started."""
    return [line["worker"] for line in lines(gateway) if line.get("job_id") == job_id and "worker" in line][-1]


def process_of(gateway: Running, job_id: str) -> psutil.Process:
    number = number_of(gateway, job_id)
    ready = [line["message"] for line in lines(gateway) if f"worker {number} is ready: process " in line["message"]][-1]
    return psutil.Process(int(ready.split("process ")[1].split()[0]))


def wait_for_devices(talk: Talk, count: int) -> Pong:
    while True:
        talk.say(Ping())
        pong = talk.hear_until(Pong)
        if len(pong.devices) == count:
            return pong
        talk.hear(0.1)


def hear_of_all(talk: Talk, kind: type[Message], jobs: Sequence[str]) -> list[Message]:
    """What has come of this kind, once it has come of each of these jobs."""
    while True:
        come = [event for event in talk.heard if isinstance(event, kind)]
        if set(jobs) <= {event.job_id for event in come}:  # pyright: ignore[reportAttributeAccessIssue]
            return come
        assert talk.hear() is not None


def run_two(gateway: Running, talk: Talk, *words: str, steps: int = 300) -> list[str]:
    """Two jobs, of which both are under way."""
    wait_for_devices(talk, 2)
    jobs = [talk.submit(picture(prompt, seed=5, steps=steps)) for prompt in words or ("a", "a")]
    hear_of_all(talk, Progressed, jobs)
    assert {number_of(gateway, job_id) for job_id in jobs} == {0, 1}
    return jobs


def test_two_jobs_run_at_once_and_a_third_takes_the_place_that_is_free(start: Start, connect: Connect) -> None:
    port = free_port()
    gateway = start(devices=["cpu", "cpu"], metrics_port=port)
    talk = connect(gateway)
    long, short = run_two(gateway, talk, steps=150)
    next_one = talk.submit(picture(seed=6, steps=2))
    talk.say(Ping())
    pong = talk.hear_until(Pong)
    assert (pong.running, pong.queued, len(pong.devices)) == (2, 1, 2) and pong.device == pong.devices[0]
    talk.say(Cancel(job_id=short))
    talk.hear_until(Cancelled, short)
    talk.hear_until(Finished, next_one)
    assert number_of(gateway, next_one) == number_of(gateway, short)
    talk.hear_until(Finished, long)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        told = answer.read().decode()
    for worker in (0, 1):
        assert f'beyondscene_ready{{worker="{worker}"}} 1.0' in told
        assert f'beyondscene_attempts_total{{worker="{worker}"}}' in told
    log_folder = gateway.data_folder / "log"
    assert {path.name for path in log_folder.glob("worker*")} == {"worker-0.log", "worker-1.log"}


def test_a_worker_that_is_killed_takes_nothing_from_the_other(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cpu", "cpu"])
    talk = connect(gateway)
    one, other = run_two(gateway, talk)
    process_of(gateway, one).kill()
    digests = {event.digest for event in hear_of_all(talk, Finished, (one, other)) if isinstance(event, Finished)}
    gateway.process.terminate()
    gateway.process.communicate(timeout=PATIENCE_S)
    assert len(digests) == 1
    assert (attempts(talk.of(one)), attempts(talk.of(other))) == ([1, 2], [1])
    assert set(audit(gateway.data_folder).values()) == {"finished"}
    counts = redone(gateway.data_folder)
    assert counts[one] <= UNIT_STEPS and counts[other] == 0


def test_each_stops_its_own_job(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cpu", "cpu"], halt_grace_s=0.5)
    talk = connect(gateway)
    stuck, other = run_two(gateway, talk, "stuck", "a")
    innocent = process_of(gateway, other)
    talk.say(Cancel(job_id=stuck))
    talk.hear_until(Stopping, stuck)
    talk.hear_until(Cancelled, stuck)
    hear_of_all(talk, Finished, [other])
    assert attempts(talk.of(other)) == [1] and innocent.is_running()
    wait_for_devices(talk, 2)


def test_stuck_workers_are_waited_for_together_when_the_gateway_leaves(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cpu"] * 3)
    talk = connect(gateway)
    wait_for_devices(talk, 3)
    hear_of_all(talk, Progressed, [talk.submit(picture("stuck", seed=seed)) for seed in range(3)])
    asked_s = time.monotonic()
    gateway.process.terminate()
    gateway.process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - asked_s < 2 * LEAVE_S


def test_both_jobs_go_on_after_a_kill_of_all(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cpu", "cpu"])
    jobs = run_two(gateway, connect(gateway), steps=60)
    gateway.kill()
    gateway = start(gateway, devices=["cpu", "cpu"])
    talk = connect(gateway)
    for job_id in jobs:
        talk.say(Subscribe(job_id=job_id))
    digests = {event.digest for event in hear_of_all(talk, Finished, jobs) if isinstance(event, Finished)}
    assert len(digests) == 1
    gateway.process.terminate()
    gateway.process.communicate(timeout=PATIENCE_S)
    assert set(audit(gateway.data_folder)) == set(jobs)
    assert max(redone(gateway.data_folder).values()) <= UNIT_STEPS


def test_auto_is_a_worker_for_every_device_that_the_first_one_sees(start: Start, connect: Connect) -> None:
    gateway = start(worker_command=[*STAND_IN, "cuda:0", "cuda:1", "cuda:2"])
    talk = connect(gateway)
    wait_for_devices(talk, 3)
    started = [line["message"] for line in lines(gateway) if "started worker" in line["message"]]
    assert [words.rpartition(" for ")[2] for words in started] == ["auto", "cuda:1", "cuda:2"]
    gateway.worker().kill()  # the next one sees them too
    wait_until(lambda: sum("is ready" in line["message"] for line in lines(gateway)) == 4)
    wait_for_devices(talk, 3)


def test_one_that_never_comes_up_leaves_the_work_to_the_other(start: Start, connect: Connect, tmp_path: Path) -> None:
    """The first process to come is the only one that can have the device."""
    there = tmp_path / "taken"
    program = (
        f"import os, sys\ntry: os.open({str(there)!r}, os.O_CREAT | os.O_EXCL)\n"
        f"except FileExistsError: raise SystemExit('no such device')\nos.execv({sys.executable!r}, {STAND_IN!r})"
    )
    talk = connect(start(devices=["cpu", "cpu"], worker_command=[sys.executable, "-c", program]))
    for seed in range(3):
        talk.hear_until(Finished, talk.submit(picture(seed=seed, steps=50)))
    assert not any(isinstance(event, Failed) for event in talk.heard)
    assert len([event for event in talk.heard if isinstance(event, Started)]) == 3


def test_a_worker_without_work_leaves_its_device_until_there_is_some(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cpu", "cpu"], release_s=1)
    talk = connect(gateway)
    talk.hear_until(Finished, talk.submit(picture(steps=2)))
    wait_until(lambda: not gateway.workers())
    told = wait_for_devices(talk, 2).devices  # they are known all the same
    assert {(one.name, one.free_bytes, one.total_bytes) for one in told} == {("stand-in", 0, 0)}
    job_id = talk.submit(picture(steps=2))
    talk.hear_until(Finished, job_id)
    assert attempts(talk.of(job_id)) == [1] and len(gateway.workers()) == 1  # there was work for one
    wait_until(lambda: not gateway.workers())
    assert not [line for line in lines(gateway) if line["logger"].endswith("supervisor") and line["level"] != "INFO"]


def test_a_job_that_comes_as_its_worker_leaves_is_done_all_the_same(start: Start, connect: Connect) -> None:
    talk = connect(start(release_s=0.1))
    for number in range(5):
        job_id = talk.submit(picture(steps=1, seed=number))
        talk.hear_until(Finished, job_id)
        assert attempts(talk.of(job_id)) == [1]
        talk.hear(0.05 * number)


def test_a_worker_is_told_how_sparing_it_is_to_be(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    program = f"import sys, time; open({str(told)!r}, 'w').write(sys.stdin.readline()); time.sleep(60)"
    start(worker_command=[sys.executable, "-c", program], precision="bfloat16", offload="networks")
    wait_until(lambda: told.exists() and told.read_text())
    start_of_worker = json.loads(told.read_text())
    assert (start_of_worker["precision"], start_of_worker["offload"]) == ("bfloat16", "networks")


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        *((devices, "is no device") for devices in ("gpu", "auto,cpu", "cuda:x", "", "cuda:0,,cuda:1")),
        *((devices, "'cuda:0' is named twice") for devices in ("cuda:0,cuda:0", "cuda:0,cuda:1,cuda")),
    ],
)
def test_devices_that_are_none_or_named_twice(tmp_path: Path, devices: str, words: str) -> None:
    settings = ServeSettings(
        data_folder=tmp_path / "data", ready_file=tmp_path / "ready.json", devices=tuple(devices.split(","))
    )
    with pytest.raises(ServeError, match=words):
        serve(settings, lambda extra: [])
    assert not list(tmp_path.iterdir())
