"""What `soak.py` does to a backend under work: each fault is done to a Soak, those of EARLY in its first third only."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
from beyondscene.protocol import Cancel, Fetch, Finished, Ping, Pong, Subscribe
from beyondscene.tests.backend.serving.talk import Talk
from beyondscene.tests.protocol.mutate import corpus, mutated

if TYPE_CHECKING:
    from soak import Soak

PATIENCE_S = 300.0  # it gives way to whatever else the machine does
NOISES = [frames for frames in corpus() if b"Submit" not in frames[1]]  # of which one might be understood


def kill_gateway(soak: "Soak") -> None:
    workers = soak.gateway.workers()
    soak.gateway.kill()
    soak.gateway = soak.start()
    for worker in workers:  # one that was frozen wakes up under another gateway
        with suppress(psutil.NoSuchProcess):
            worker.resume()
    soak.reconnect()


def kill_both(soak: "Soak") -> None:
    for worker in soak.gateway.workers():
        worker.kill()
    kill_gateway(soak)


def kill_worker(soak: "Soak") -> None:
    if workers := soak.gateway.workers():
        soak.dice.choice(workers).kill()


def freeze_worker(soak: "Soak") -> None:
    if workers := soak.gateway.workers():
        soak.dice.choice(workers).suspend()


def get_stuck(soak: "Soak") -> None:
    """A job that hangs in its first attempt while its worker's heart beats."""
    soak.submit("stumbles")


def drop_connection(soak: "Soak") -> None:
    soak.reconnect()


def cancel(soak: "Soak") -> None:
    if live := soak.live():
        job_id = soak.dice.choice(live)
        soak.cancelled.add(job_id)
        soak.talk.say(Cancel(job_id=job_id))


def submit_again(soak: "Soak") -> None:
    submit = soak.submits[soak.dice.choice(list(soak.submits))]
    for _ in range(10):
        soak.talk.say(submit)


def send_noise(soak: "Soak") -> None:
    """Plain bytes from anybody, and damaged messages from somebody whose key is good."""
    address = urlsplit(soak.gateway.connection().endpoint)
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port)) as stranger:
            stranger.sendall(soak.dice.randbytes(soak.dice.randrange(1, 2000)))
    talk = soak.open()
    for _ in range(100):
        talk.socket.send_multipart(mutated(soak.dice, NOISES) or [b""])
    talk.say(Ping())
    while not isinstance(event := talk.hear(PATIENCE_S), Pong):
        if event is None:
            soak.broken.append("the gateway did not answer after damaged messages")
            break
    talk.close()


def ask_and_not_read(soak: "Soak") -> None:
    idler = Talk(soak.gateway.connection(), receive_messages=1)
    idler.greet()
    for job_id, events in soak.told.items():
        idler.say(Subscribe(job_id=job_id))
        if events and isinstance(events[-1], Finished):
            idler.say(Fetch(job_id=job_id, offset=0, chunks=1))
    soak.idlers.append(idler)


EARLY: tuple[Callable[["Soak"], None], ...] = (kill_gateway, kill_both)
FAULTS: tuple[Callable[["Soak"], None], ...] = (
    kill_worker, freeze_worker, get_stuck, drop_connection, cancel, submit_again, send_noise, ask_and_not_read,
)  # fmt: skip
