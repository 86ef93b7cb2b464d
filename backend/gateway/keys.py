"""The keys of a backend that outlast a launch, so that the files of its clients stay good."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ...protocol.connection import Z85Key, write_secret
from .settings import ServeError, check_endpoint
from .sockets import KeyPair


class ServerKeys(Struct, frozen=True, kw_only=True):
    """The file `server.json`. endpoint: where clients reach the backend."""

    format: Literal[1] = 1
    endpoint: str
    public_key: Z85Key
    secret_key: Z85Key

    @property
    def pair(self) -> KeyPair:
        return KeyPair(self.public_key.encode(), self.secret_key.encode())


def keys_path(data_folder: Path) -> Path:
    return data_folder / "server.json"


def read_keys(data_folder: Path) -> ServerKeys | None:
    """None where there are none. Raises ServeError where the file cannot be read."""
    path = keys_path(data_folder)
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServerKeys)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ServeError(f"The keys {path} cannot be read ({error}): mend the file, or remove it and make new ones.") from error


def make_keys(data_folder: Path, endpoint: str) -> ServerKeys:
    """Make and keep them. Raises ServeError where there are some, which the files of all clients name."""
    check_endpoint(endpoint)
    path = keys_path(data_folder)
    if path.exists():
        raise ServeError(f"{path} holds keys already, and every client's file rests on them: remove it first to start anew.")
    pair = KeyPair.new()
    keys = ServerKeys(endpoint=endpoint, public_key=pair.public.decode(), secret_key=pair.secret.decode())
    data_folder.mkdir(parents=True, exist_ok=True)
    write_secret(path, msgspec.json.format(msgspec.json.encode(keys)))
    return keys
