"""What a gateway hands to a worker process at its start, through the pipe that is the worker's standard input.

Keys never stand in an argument or in the environment, which other processes can read. The pipe stays open for as long as
the gateway lives, so its end tells the worker that the gateway is gone, however that came about.
"""

import os
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from ..protocol import Refusal
from .models.memory_saving import Offload, Precision

LIMIT_BYTES = 64 * 1024


class WorkerStart(Struct, frozen=True, kw_only=True):
    """Where the gateway listens, and the CURVE keys (Z85) of this one worker process."""

    endpoint: str
    server_public_key: str
    public_key: str
    secret_key: str
    device: str = "auto"
    precision: Precision = "auto"
    offload: Offload = "none"
    heartbeat_s: float = 1.0


def encode_start(start: WorkerStart) -> bytes:
    return msgspec.json.encode(start) + b"\n"


def read_start(descriptor: int = 0) -> WorkerStart:
    """Read one line, byte by byte so that nothing beyond it is taken. Raises Refusal if it is no WorkerStart."""
    line = bytearray()
    while len(line) < LIMIT_BYTES and (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    try:
        return msgspec.json.decode(bytes(line), type=WorkerStart)
    except msgspec.DecodeError as error:
        raise Refusal(f"a worker is started by a gateway, which writes one line to its standard input: {error}") from error


def leave_with_the_gateway() -> None:
    """From now on this process ends at once when the other end of the pipe is closed. Its standard input is empty by then.

    On Windows whoever only asks about a pipe waits as long as another thread reads from it, and libraries ask about standard
    input while they are loaded: scipy never was (numpy/numpy#24290, python/cpython#78961).
    """
    pipe = os.dup(0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def watch() -> None:
        while os.read(pipe, 1024):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="gateway-watch", daemon=True).start()
