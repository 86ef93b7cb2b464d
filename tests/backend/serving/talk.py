"""A gateway process, and a client that says exactly what a test wants said."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zmq
from beyondscene.protocol import (
    ArrayRef,
    Cancelled,
    Character,
    Chunk,
    ConnectionFile,
    Decoder,
    Event,
    Failed,
    Fetch,
    Finished,
    Hello,
    Keypoint,
    Received,
    RenderRequest,
    RenderSettings,
    Started,
    Submit,
    Welcome,
    digest_of,
    encode,
    read_connection,
)
from beyondscene.protocol.messages import Message

GATEWAY = Path(__file__).with_name("gateway_process.py")
PATIENCE_S = 240.0  # a busy machine is no failure

M = TypeVar("M", bound=Message)
decode_event = Decoder(Event)


class Running:
    """A gateway process and the file by which clients find it."""

    def __init__(self, folder: Path, disk_mib: int | None = None, errors: int = subprocess.PIPE, **settings: Any) -> None:
        """disk_mib: the data folder is a disk of this size, which only the gateway and its worker see.

        errors: where its log lines go to; a pipe that nobody reads stops it after 64 KiB.
        """
        self.folder = folder
        self.ready_file = folder / "ready.json"
        self.data_folder = folder / "data"
        given = {"data_folder": str(self.data_folder), "ready_file": str(self.ready_file), **settings}
        self.ready_file.unlink(missing_ok=True)  # of a gateway that was killed
        command = [sys.executable, str(GATEWAY), json.dumps(given)]
        if disk_mib is not None:
            self.data_folder.mkdir(exist_ok=True)
            mount = f"mount -t tmpfs -o size={disk_mib}m disk '{self.data_folder}' && exec \"$@\""
            command = ["unshare", "-rm", "sh", "-c", mount, "sh", *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)

    def connection(self) -> ConnectionFile:
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None)
        return read_connection(self.ready_file)

    def worker(self) -> psutil.Process:
        wait_until(self.workers)
        return self.workers()[0]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def kill(self) -> None:
        """As kill -9 does; the worker leaves with it."""
        self.process.kill()
        self.process.communicate()

    def log(self) -> str:
        return (self.data_folder / "log" / "gateway.log").read_text()


class Talk:
    """A client's connection. `heard` holds every event that came, in order."""

    def __init__(
        self,
        connection: ConnectionFile,
        *,
        keys: tuple[bytes, bytes] | None = None,
        curve: bool = True,
        receive_messages: int = 1000,
    ) -> None:
        self.heard: list[Message] = []
        self.payloads: list[bytes] = []  # of the newest event
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        if curve:
            own = (connection.client_public_key.encode(), connection.client_secret_key.encode())
            self.socket.curve_publickey, self.socket.curve_secretkey = keys or own
            self.socket.curve_serverkey = connection.server_public_key.encode()
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_messages)
        self.socket.connect(connection.endpoint)

    def say(self, message: Message, payload: Sequence[bytes] = ()) -> None:
        self.socket.send_multipart(encode(message, payload))

    def hear(self, timeout_s: float = PATIENCE_S) -> Message | None:
        """The next event, or None after the time."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        event, payload = decode_event(self.socket.recv_multipart())
        self.heard.append(event)
        self.payloads = [bytes(frame) for frame in payload]
        return event

    def hear_until(self, kind: type[M], job_id: str | None = None, timeout_s: float = PATIENCE_S) -> M:
        """The next event of this kind (of this job); those before it are in `heard`."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            event = self.hear(end_s - time.monotonic())
            if isinstance(event, kind) and job_id in (None, getattr(event, "job_id", None)):
                return event
        raise AssertionError(f"no {kind.__name__} came; heard {[type(one).__name__ for one in self.heard]}")

    def of(self, job_id: str) -> list[Message]:
        return [event for event in self.heard if getattr(event, "job_id", None) == job_id]

    def greet(self) -> Welcome:
        self.say(Hello(versions=(1, 1), client="test"))
        return self.hear_until(Welcome)

    def submit(self, request: RenderRequest, **changes: Any) -> str:
        job_id = str(uuid.uuid4())
        self.say(Submit(job_id=job_id, request=request, **changes))
        return job_id

    def receive(self, finished: Finished) -> bytes:
        """As fetch, and the gateway is told that the picture is here."""
        data = self.fetch(finished)
        self.say(Received(job_id=finished.job_id, digest=digest_of(data)))
        return data

    def fetch(self, finished: Finished) -> bytes:
        data = b""
        while len(data) < finished.size_bytes:
            self.say(Fetch(job_id=finished.job_id, offset=len(data)))
            for _ in range(8):
                chunk = self.hear_until(Chunk)
                assert chunk.offset == len(data)
                assert chunk.size_bytes == finished.size_bytes
                data += self.payloads[0]
                if len(data) == finished.size_bytes:
                    break
        return data

    def close(self) -> None:
        self.socket.close()
        self.context.term()


def picture(prompt: str = "a plaza", seed: int = 1, steps: int = 20, side_px: int = 64) -> RenderRequest:
    """A request that the stand-in paints in about `steps` times 10 ms."""
    return RenderRequest(width=side_px, height=side_px, seed=seed, prompt=prompt, settings=RenderSettings(steps=steps))


def masked_person(mask: ArrayRef) -> Character:
    """Somebody large enough to be drawn in a picture of 64 px."""
    joints = (Keypoint(x=9, y=9, depth=1), *(Keypoint(x=9, y=50, depth=1),) * 17)
    return Character(id="a", name="Ann", prompt="a baker", keypoints=joints, mask=mask)


def wait_until(true: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "it did not come true in time"
        time.sleep(0.01)


def endings(events: Sequence[Message]) -> list[Message]:
    return [event for event in events if isinstance(event, Finished | Failed | Cancelled)]


def attempts(events: Sequence[Message]) -> list[int]:
    return [event.attempt for event in events if isinstance(event, Started)]
