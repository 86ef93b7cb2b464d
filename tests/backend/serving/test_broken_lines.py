"""Connections that break in the middle: of a request, of a picture on its way, and a gateway that dies while it sends one."""

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from beyondscene.backend.cli import main
from beyondscene.protocol import (
    CHUNK_BYTES,
    CREDIT_CHUNKS,
    Finished,
    JobsListed,
    ListJobs,
    Submit,
    describe_array,
    write_connection,
)
from msgspec.structs import replace

from .conftest import Connect, Start
from .talk import PATIENCE_S, Running, Talk, attempts, masked_person, picture
from .test_attacks import address_of

LARGE_PX = 2048  # a picture of 12 MiB
OVERHEAD = 1.02  # of CURVE and ZMTP


class Cable:
    """A proxy whose first connection breaks after so many bytes in one direction; later ones hold."""

    def __init__(self, to: tuple[str, int], *, up_bytes: int = 2**40, down_bytes: int = 2**40) -> None:
        self.connections = 0
        self.down_bytes = 0  # that have come through, of all connections
        self._to = to
        self._limits = up_bytes, down_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                up, down = self._limits if self.connections == 1 else (2**40, 2**40)
                server = socket.create_connection(self._to)
                for given in ((client, server, up, False), (server, client, down, True)):
                    threading.Thread(target=self._pump, args=given, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, limit_bytes: int, is_down: bool) -> None:
        with suppress(OSError), source, target:
            while limit_bytes > 0 and (data := source.recv(min(65536, limit_bytes))):
                limit_bytes -= len(data)
                target.sendall(data)
                self.down_bytes += len(data) if is_down else 0
            for one in (source, target):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cable(gateway: Running, **limits: int) -> Iterator[Cable]:
    made = Cable(address_of(gateway.connection()), **limits)
    yield made
    made.close()


def key_file(gateway: Running, folder: Path, endpoint: str) -> Path:
    path = folder / "through-the-cable.json"
    write_connection(path, replace(gateway.connection(), endpoint=endpoint))
    return path


@pytest.fixture
def finished(start: Start, connect: Connect) -> tuple[Running, Finished]:
    gateway = start()
    talk = connect(gateway)
    return gateway, talk.hear_until(Finished, talk.submit(picture(steps=1, side_px=LARGE_PX)))


def test_a_request_that_came_half_is_none_and_comes_whole_the_next_time(start: Start, connect: Connect) -> None:
    gateway = start()
    mask = np.full((1024, 1024), 7, np.uint8)
    reference = describe_array(mask)
    request = replace(picture(steps=1, side_px=1024), characters=(masked_person(reference),))
    message = Submit(job_id=str(uuid.uuid4()), request=request, arrays=(reference,))
    with cable(gateway, up_bytes=500_000) as broken:
        talk = Talk(msgspec.structs.replace(gateway.connection(), endpoint=broken.endpoint))
        talk.greet()
        talk.say(message, [mask.tobytes()])
        other = connect(gateway)
        while broken.connections < 2:  # it has broken, and the socket has come again by itself
            talk.hear(0.05)
        other.say(ListJobs())
        assert other.hear_until(JobsListed).jobs == ()
        talk.greet()
        talk.say(message, [mask.tobytes()])
        talk.hear_until(Finished, message.job_id)
        assert attempts(talk.of(message.job_id)) == [1]
        talk.close()


def test_a_picture_on_its_way_goes_on_where_the_line_broke(finished: tuple[Running, Finished], tmp_path: Path) -> None:
    gateway, event = finished
    with cable(gateway, down_bytes=5 * 2**20) as broken:
        command = ["fetch", event.job_id, "-o", str(tmp_path / "out.png"), "--patience", "60"]
        assert main([*command, "--key-file", str(key_file(gateway, tmp_path, broken.endpoint))]) == 0
        assert broken.connections >= 2
        assert broken.down_bytes < event.size_bytes * OVERHEAD + CREDIT_CHUNKS * CHUNK_BYTES  # one window at most came twice
    assert (tmp_path / "out.png").read_bytes() == (gateway.data_folder / "results" / f"{event.job_id}.png").read_bytes()


def test_a_gateway_that_dies_while_it_sends(finished: tuple[Running, Finished], start: Start, tmp_path: Path) -> None:
    gateway, event = finished
    gateway.kill()
    gateway = start(gateway, die="after chunk 4")
    codes: list[int] = []
    command = ["fetch", event.job_id, "-o", str(tmp_path / "out.png"), "--patience", "60"]
    fetching = threading.Thread(target=lambda: codes.append(main([*command, "--ready-file", str(gateway.ready_file)])))
    fetching.start()
    gateway.process.wait(PATIENCE_S)
    assert not codes and list(tmp_path.glob("out.png.*.part"))
    gateway = start(gateway)
    fetching.join(PATIENCE_S)
    assert codes == [0]
    assert (tmp_path / "out.png").read_bytes() == (gateway.data_folder / "results" / f"{event.job_id}.png").read_bytes()
