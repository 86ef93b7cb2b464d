"""The small file by which a client finds a backend and proves that it may talk to it."""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from .refusal import Refusal
from .whole import patiently, whole_file

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"  # ZeroMQ RFC 32
Z85Key = Annotated[str, Meta(pattern=f"^[{re.escape(Z85)}]*$", min_length=40, max_length=40)]


class ConnectionFile(Struct, frozen=True, kw_only=True):
    """Endpoint and CURVE keys of one backend, readable by its owner only."""

    format: Literal[1] = 1
    endpoint: str  # "tcp://127.0.0.1:49321"
    server_public_key: Z85Key
    client_public_key: Z85Key
    client_secret_key: Z85Key
    pid: int = 0  # of the gateway


class Invitation(Struct, frozen=True, kw_only=True):
    """What a client must know to make its own keys for a backend. No secret."""

    format: Literal[1] = 1
    endpoint: str
    server_public_key: Z85Key


def write_connection(path: Path, connection: ConnectionFile) -> None:
    """Make `path` appear at once and whole, with mode 0600."""
    write_secret(path, msgspec.json.encode(connection))


def write_secret(path: Path, data: bytes) -> None:
    """Make `path` appear at once and whole, readable by its owner only."""
    with whole_file(path, 0o600) as partial:
        partial.write_bytes(data)


def is_open_to_others(path: Path) -> bool:
    """Whether somebody else than the owner of `path` may read it; of files on Windows, or gone, nothing is known."""
    return os.name == "posix" and path.exists() and bool(path.stat().st_mode & 0o077)


def read_connection(path: Path) -> ConnectionFile:
    """Raises OSError if there is no such file, Refusal if it is not a connection file."""
    try:
        connection = msgspec.json.decode(patiently(path.read_bytes), type=ConnectionFile)
    except ValueError as error:  # what is no JSON, or no UTF-8
        words = f"{path} is not a connection file ({error}): name the file that `serve` or `client add` wrote."
        raise Refusal(words) from error
    check_reachable(path, connection.endpoint)
    for key in (connection.server_public_key, connection.client_public_key, connection.client_secret_key):
        check_key(path, key)
    return connection


def check_reachable(path: Path, endpoint: str) -> None:
    """Raise Refusal unless one can connect to what `path` names."""
    if not is_reachable(endpoint):
        raise Refusal(f"{path} names the endpoint '{endpoint}', to which nobody can connect: it must be tcp://HOST:PORT.")


def is_reachable(endpoint: str) -> bool:
    """Whether `endpoint` is TCP, with a host and a port and nothing else."""
    try:
        parts = urlsplit(endpoint)
        return bool(re.fullmatch(r"tcp://[^/?#@\s]+", endpoint) and parts.hostname and parts.port)
    except ValueError:  # a port that is no number, half an IPv6 address
        return False


def check_key(path: Path, key: str) -> None:
    """Raise Refusal unless the 40 characters that `path` holds stand for 32 bytes: five for four."""
    for start in range(0, len(key), 5):
        if sum(Z85.index(letter) * 85 ** (4 - place) for place, letter in enumerate(key[start : start + 5])) >= 2**32:
            raise Refusal(f"{path} holds a key that is none: ask whoever gave you the file for it again.")


def write_invitation(path: Path, invitation: Invitation) -> None:
    path.write_bytes(msgspec.json.encode(invitation))


def read_invitation(path: Path) -> Invitation:
    """Raises OSError if there is no such file, Refusal if it is not an invitation."""
    try:
        invitation = msgspec.json.decode(path.read_bytes(), type=Invitation)
    except ValueError as error:  # what is no JSON, or no UTF-8
        words = f"{path} is not the invitation of a backend ({error}): name the invitation.json that `keygen --endpoint` wrote."
        raise Refusal(words) from error
    check_reachable(path, invitation.endpoint)
    check_key(path, invitation.server_public_key)
    return invitation


def fingerprint(public_key: str) -> str:
    """A short form of a key that two people can compare."""
    digest = hashlib.blake2b(public_key.encode(), digest_size=8).hexdigest()
    return "-".join(digest[start : start + 4] for start in range(0, 16, 4))
