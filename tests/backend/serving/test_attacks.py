"""What somebody at the port may try: many at once, the same again, recorded bytes, and plain noise."""

import contextlib
import random
import socket
import threading
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec
import numpy as np
from beyondscene.protocol import (
    Accepted,
    ConnectionFile,
    Finished,
    JobsListed,
    ListJobs,
    Ping,
    Pong,
    Started,
    Submit,
    describe_array,
)
from msgspec.structs import replace

from .conftest import Connect, Start
from .talk import Talk, masked_person, picture


def address_of(connection: ConnectionFile) -> tuple[str, int]:
    parts = urlsplit(connection.endpoint)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


def test_one_job_submitted_a_hundred_times_by_ten_at_once(start: Start, connect: Connect) -> None:
    gateway = start()
    talks = [connect(gateway) for _ in range(10)]
    message = Submit(job_id=str(uuid.uuid4()), request=picture(steps=40))
    for _ in range(10):
        for talk in talks:
            talk.say(message)
    digests = {talk.hear_until(Finished).digest for talk in talks}
    assert len(digests) == 1
    seen = {event for talk in talks for event in talk.heard if isinstance(event, Accepted | Started)}
    assert len(seen) == 2  # all were told of one acceptance and one start
    talks[0].say(ListJobs())
    assert [job.attempt for job in talks[0].hear_until(JobsListed).jobs] == [1]


@contextlib.contextmanager
def recording_proxy(to: tuple[str, int]) -> Iterator[tuple[int, bytearray]]:
    """Its port, and everything that its first client sends through it."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(source: socket.socket, target: socket.socket, record: bool) -> None:
            with contextlib.suppress(OSError):  # the other side has hung up
                while data := source.recv(65536):
                    if record:
                        said.extend(data)
                    target.sendall(data)

        def serve() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection(to) as server:
                back = threading.Thread(target=pump, args=(server, client, False), daemon=True)
                back.start()
                pump(client, server, True)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], said


def test_recorded_bytes_do_nothing(start: Start, connect: Connect) -> None:
    gateway = start()
    here = gateway.connection()
    with recording_proxy(address_of(here)) as (port, said):
        talk = Talk(msgspec.structs.replace(here, endpoint=f"tcp://127.0.0.1:{port}"))
        talk.greet()
        talk.hear_until(Finished, talk.submit(picture(steps=1)))
        talk.close()
    assert b"Submit" not in said and b"plaza" not in said  # nothing of it can be read
    with socket.create_connection(address_of(here)) as stranger:
        stranger.settimeout(10)
        stranger.sendall(bytes(said))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := stranger.recv(65536):  # it hangs up, since the nonces are not its own
                answer += data
    assert b"Accepted" not in answer
    talk = connect(gateway)
    talk.say(ListJobs())
    assert len(talk.hear_until(JobsListed).jobs) == 1


def test_noise_at_the_port_disturbs_nobody(start: Start, connect: Connect) -> None:
    gateway = start()
    talk, dice = connect(gateway), random.Random(3)
    greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL" + bytes(48)
    noises = [dice.randbytes(dice.randrange(1, 2000)) for _ in range(20)] + [
        greeting,
        greeting + b"\xff" * 500,
        b"GET / HTTP/1.1\r\n",
    ]
    open_ones = []
    for noise in noises:
        stranger = socket.create_connection(address_of(gateway.connection()))
        stranger.sendall(noise)
        open_ones.append(stranger)
    talk.say(Ping())
    talk.hear_until(Pong)
    talk.hear_until(Finished, talk.submit(picture(steps=1)))
    for stranger in open_ones:
        stranger.close()
    assert "Traceback" not in gateway.log()


def test_a_mask_as_large_as_the_limit_comes_through(start: Start, connect: Connect) -> None:
    """Its frame is larger by what encryption adds."""
    mask = np.zeros((1024, 1024), np.uint8)
    talk, reference = connect(start(frame_limit_bytes=mask.nbytes)), describe_array(mask)
    request = replace(picture(steps=1, side_px=1024), characters=(masked_person(reference),))
    order = Submit(job_id=str(uuid.uuid4()), request=request, arrays=(reference,))
    talk.say(order, [mask.tobytes()])
    talk.hear_until(Finished, order.job_id)
