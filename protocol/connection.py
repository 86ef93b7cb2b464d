"""The small file by which a client finds a backend and proves that it may talk to it."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Z85Key = Annotated[str, Meta(min_length=40, max_length=40)]


class ConnectionFile(Struct, frozen=True, kw_only=True):
    """Endpoint and CURVE keys of one backend, readable by its owner only."""

    format: Literal[1] = 1
    endpoint: str  # "tcp://127.0.0.1:49321"
    server_public_key: Z85Key
    client_public_key: Z85Key
    client_secret_key: Z85Key
    pid: int = 0  # of the gateway


def write_connection(path: Path, connection: ConnectionFile) -> None:
    """Make `path` appear at once and whole, with mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)  # before the keys are in it
    temporary.write_bytes(msgspec.json.encode(connection))
    temporary.replace(path)


def read_connection(path: Path) -> ConnectionFile:
    """Raises OSError if there is no such file, ValueError if it is not a connection file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ConnectionFile)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not a connection file: {error}") from error
