"""What a gateway tells those who watch over it: metrics over HTTP, and log lines for programs."""

import json
import logging
import socket
import urllib.request
from pathlib import Path

import psutil
import pytest
import zmq
from beyondscene.backend.gateway.logs import start_log, stop_log
from beyondscene.protocol import Cancel, Cancelled, Finished, Refused, Started

from .conftest import Connect, Start
from .talk import picture, wait_until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_metrics_count_what_happens_and_only_loopback_hears_them(start: Start, connect: Connect) -> None:
    port = free_port()
    gateway = start(metrics_port=port)
    talk = connect(gateway)
    finished = talk.hear_until(Finished, talk.submit(picture(steps=2)))
    talk.fetch(finished)
    talk.submit(picture(), models="no such set")
    talk.hear_until(Refused)
    connect(gateway, greet=False, keys=zmq.curve_keypair())

    def read() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = [line for line in answer.read().decode().split("\n") if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    wait_until(lambda: read()["beyondscene_turned_away_total"] >= 1)
    told = read()
    assert told['beyondscene_ended_total{state="finished"}'] == told['beyondscene_attempts_total{worker="0"}'] == 1
    wait_until(lambda: read()['beyondscene_ready{worker="0"}'] == 1)
    assert read()['beyondscene_workers_lost_total{worker="0"}'] == 0
    assert told["beyondscene_sent_bytes_total"] == finished.size_bytes
    assert told["beyondscene_refused_total"] == 1 and told['beyondscene_messages_total{kind="Submit"}'] == 2
    assert told["beyondscene_free_bytes"] > 0
    listening = [one.laddr for one in psutil.Process(gateway.process.pid).net_connections() if one.status == "LISTEN"]
    assert {address.ip for address in listening} == {"127.0.0.1"} and port in {address.port for address in listening}
    running, waiting = talk.submit(picture(steps=200)), talk.submit(picture())
    talk.hear_until(Started, running)
    talk.say(Cancel(job_id=waiting))
    talk.hear_until(Cancelled, waiting)
    assert read()['beyondscene_ended_total{state="cancelled"}'] == 1


def test_log_lines_are_objects_that_name_their_job(start: Start, connect: Connect) -> None:
    gateway = start()
    talk = connect(gateway)
    job_id = talk.submit(picture("fragile", steps=20))
    talk.hear_until(Started, job_id)
    talk.hear_until(Finished, job_id)
    lines = [json.loads(line) for line in gateway.log().splitlines()]
    of_job = [line for line in lines if line.get("job_id") == job_id]
    assert {line["attempt"] for line in of_job} >= {0, 1, 2}
    assert all(line["time"].endswith("+00:00") and line["level"] == "INFO" for line in of_job)
    assert any("was killed" in line["message"] and line["level"] == "ERROR" for line in lines)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full is Linux's")
def test_a_log_on_a_full_disk_is_no_fault_of_whatever_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    handler = start_log(Path("/dev/full"))
    logging.getLogger().error("the disk is full")
    stop_log(handler)  # as the gateway does at its end, whose exit code and last words are those of its own reason
    assert "Traceback" not in capsys.readouterr().err
