"""The gateway as a process: what it imports, when it leaves, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from beyondscene.backend.gateway import ServeError, ServeSettings, serve
from beyondscene.protocol import Finished, Ping, Pong, Progressed, Refused, Started

from .conftest import Connect, Start
from .talk import PATIENCE_S, attempts, picture, wait_until


@pytest.fixture(autouse=True)
def _hang_up_is_heeded() -> Iterator[None]:
    """Under `nohup` all processes that these tests start would ignore SIGHUP, too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_leaves_without_having_seen_torch(start: Start, connect: Connect, number: int) -> None:
    gateway = start()
    talk = connect(gateway)
    talk.submit(picture())
    talk.hear_until(Finished)
    worker = gateway.worker()
    gateway.process.send_signal(number)
    output, errors = gateway.process.communicate(timeout=PATIENCE_S)
    assert gateway.process.returncode == 0, errors
    assert json.loads(output) == {"torch": False}
    assert not gateway.ready_file.exists()
    assert not worker.is_running()
    assert "Traceback" not in errors


WATCHING = """
import os, time
from beyondscene.backend.launch import leave_with_the_gateway
leave_with_the_gateway()
print(os.path.samestat(os.fstat(0), os.stat(os.devnull)), flush=True)
time.sleep(60)
"""


def test_a_worker_that_watches_its_gateway_lets_others_ask_about_standard_input() -> None:
    """Libraries do so while they are loaded, and on Windows would wait for as long as the pipe that is read has nothing."""
    with subprocess.Popen([sys.executable, "-c", WATCHING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin and worker.stdout
        assert worker.stdout.readline() == b"True\n"
        worker.stdin.close()
        assert worker.wait(PATIENCE_S) == 0


def test_a_signal_to_all_of_its_processes_is_heeded_by_the_gateway_alone(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture())
    talk.hear_until(Started)
    worker = gateway.worker()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, systemd and a closed terminal send them
        worker.send_signal(number)
    finished = talk.hear_until(Finished)
    assert (finished.job_id, attempts(talk.of(job_id))) == (job_id, [1])
    gateway.process.terminate()
    _, errors = gateway.process.communicate(timeout=PATIENCE_S)
    assert gateway.process.returncode == 0 and "ERROR" not in errors, errors
    assert not worker.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be set on Linux only")
def test_where_no_more_files_can_be_opened_jobs_wait_and_nothing_is_lost(start: Start, connect: Connect) -> None:
    """Any machine that reaches the port can use them up with connections, whatever key it has."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        gateway = start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    talk = connect(gateway)
    first = talk.submit(picture(steps=40))
    second = talk.submit(picture(steps=1))
    talk.hear_until(Started, first)
    process = psutil.Process(gateway.process.pid)
    assert process.rlimit(psutil.RLIMIT_NOFILE) == (before[1], before[1])
    process.rlimit(psutil.RLIMIT_NOFILE, (3, before[1]))  # below what it has open
    refused = talk.hear_until(Refused, talk.submit(picture()))
    assert refused.later and "too many files" in refused.message
    gateway.worker().kill()
    time.sleep(1.5)  # in which it looks again, and finds no worker
    talk.say(Ping())
    talk.hear_until(Pong)
    process.rlimit(psutil.RLIMIT_NOFILE, before)
    finished = talk.hear_until(Finished, second)
    assert talk.fetch(finished) and first in {event.job_id for event in talk.heard if isinstance(event, Finished)}
    assert gateway.process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be set on Linux only")
def test_while_one_job_waits_for_the_ledger_or_a_file_another_is_seen_to_go_on(start: Start, connect: Connect) -> None:
    gateway = start(devices=["cpu", "cpu"])
    talk = connect(gateway)
    long, short = talk.submit(picture(steps=900)), talk.submit(picture(steps=150))
    for job_id in (long, short):
        talk.hear_until(Started, job_id)
    process = psutil.Process(gateway.process.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, before[1]))
    wait_until(lambda: "too many files" in gateway.log())  # the short one's picture cannot be published
    steps = [talk.hear_until(Progressed, long).step for _ in range(100)]
    assert steps == sorted(steps) and len(set(steps)) > 20
    process.rlimit(psutil.RLIMIT_NOFILE, before)
    assert {talk.hear_until(Finished).job_id for _ in range(2)} == {long, short}


def test_leaves_with_the_process_it_serves(start: Start) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gateway = start(parent_pid=parent.pid)
    gateway.connection()
    worker = gateway.worker()
    parent.kill()  # not waited for: a zombie is gone as well
    gateway.process.wait(PATIENCE_S)
    parent.communicate()
    assert not gateway.ready_file.exists()
    wait_until(lambda: not worker.is_running())


def test_the_worker_leaves_with_the_gateway(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    talk.submit(picture("stuck"))
    worker = gateway.worker()
    gateway.process.kill()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.skipif(os.name != "posix", reason="names of files may be any bytes on POSIX only")
def test_a_folder_whose_name_no_message_can_carry_is_refused(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"renders \xff")
    with pytest.raises(ServeError, match=r"renders \\udcff' is not UTF-8: rename it"):
        serve(ServeSettings(data_folder=odd, ready_file=tmp_path / "ready.json"))
    assert not odd.exists()


def test_the_log_of_a_worker_that_says_much_is_cut(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    first = talk.submit(picture(steps=1))
    talk.hear_until(Finished, first)
    log = gateway.data_folder / "log" / "worker-0.log"
    with log.open("ab") as file:
        file.write(b"a warning of a library\n" * 200_000)
    wait_until(lambda: log.stat().st_size < 2**20)
    assert first in log.with_name("worker-0.log.1").read_text()
    second = talk.submit(picture(steps=1))
    talk.hear_until(Finished, second)
    assert second in log.read_text()


def test_leaves_when_idle(start: Start) -> None:
    gateway = start(idle_exit_s=0.5)
    assert gateway.process.wait(PATIENCE_S) == 0


def test_keys_stay_out_of_arguments_and_environment(start: Start) -> None:
    gateway = start()
    connection = gateway.connection()
    worker = gateway.worker()
    for process in (psutil.Process(gateway.process.pid), worker):
        seen = " ".join(process.cmdline()) + " ".join(process.environ().values())
        assert connection.client_secret_key not in seen


def test_the_command_serves_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from beyondscene.backend.cli import main; code = main(); print('torch' in sys.modules); sys.exit(code)"
    )
    ready_file = tmp_path / "ready.json"
    command = [sys.executable, "-c", program, "serve", "--data", str(tmp_path / "data"), "--ready-file", str(ready_file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: ready_file.exists() or process.poll() is not None)
    process.terminate()
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output.strip()) == (0, "False"), errors
