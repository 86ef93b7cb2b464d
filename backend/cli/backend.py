"""A backend as the commands see it: found by its connection file, and found again when it was restarted meanwhile."""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import zmq

from ...protocol import ConnectionFile, Refusal, Refused, read_connection
from ...protocol.client import Client, Heard, Lost
from ...protocol.connection import is_open_to_others
from ..home import user_data_path
from . import BUSY, UNREACHABLE, say
from .arguments import amount, key_file

KEY_FILE_VARIABLE = "BEYONDSCENE_KEY_FILE"
PATIENCE_S = 30.0
LATER_S = 5.0  # between two times that something is asked which is refused only for now
POLL_MS = 100
LINGER_MS = 500


class Unreachable(Refusal):
    """No backend answers. The message says where it was looked for."""

    exit_code = UNREACHABLE


class Busy(Refusal):
    """The backend takes no more for now: a limit is reached, or its disk is full."""

    exit_code = BUSY


def add_backend(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    own = user_data_path("beyondscene") / "connection.json"
    default = os.environ.get(KEY_FILE_VARIABLE) or own
    where.add_argument(
        "--key-file", dest="connection", type=key_file, default=default, metavar="F",
        help=f"what whoever runs the backend gave out; default: what {KEY_FILE_VARIABLE} in the environment names",
    )  # fmt: skip
    where.add_argument(
        "--ready-file", dest="connection", type=Path, default=default, metavar="F",
        help=f"where a backend of one's own has written its endpoint and keys, or soon will; default: {own}",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=amount, default=PATIENCE_S, metavar="S",
        help="how long to wait for a backend, and for room at one that takes no more jobs for now; default: 30",
    )  # fmt: skip


def converse(args: argparse.Namespace, ask: Callable[[Client], None]) -> Iterator[Heard]:
    """What the backend says, from `ask` on; where it falls silent, is restarted or refuses for now, `ask` is called again.

    So `ask` must be harmless when repeated. Close the generator to hang up. Raises Unreachable, Refusal for what the
    backend refuses or a key that it does not let in, Busy for what it still refuses for now after `--patience`, and OSError
    or Refusal for a connection file that cannot be read.
    """
    patient_until_s = refused_until_s = time.monotonic() + args.patience
    waiting = False
    connection = read_connection_patiently(args.connection, patient_until_s)
    warn_of_open_keys(args.connection)
    while True:
        for event, payload in converse_once(connection, args.connection, ask):
            if isinstance(event, Lost):
                if time.monotonic() > patient_until_s:
                    raise Unreachable(event.message)
                break
            if isinstance(event, Refused):
                if not event.later or time.monotonic() > refused_until_s:
                    raise (Busy if event.later else Refusal)(event.message)
                if not waiting:
                    say(f"{event.message} It is asked again for {args.patience:.0f} s.")
                waiting = True
                time.sleep(min(LATER_S, args.patience))
                patient_until_s = time.monotonic() + args.patience
                break
            patient_until_s = time.monotonic() + args.patience
            yield event, payload
        connection = read_connection_patiently(args.connection, patient_until_s)


def converse_once(connection: ConnectionFile, path: Path, ask: Callable[[Client], None]) -> Iterator[Heard]:
    """One connection, until it is lost: also when `path` tells of another backend."""
    client = Client(connection.endpoint, "command line", time.monotonic())
    ask(client)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = LINGER_MS
        socket.ipv6 = "[" in connection.endpoint
        socket.curve_serverkey = connection.server_public_key.encode()
        socket.curve_publickey = connection.client_public_key.encode()
        socket.curve_secretkey = connection.client_secret_key.encode()
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        socket.connect(connection.endpoint)
        try:
            while client.lost is None:
                while client.outgoing:
                    socket.send_multipart(client.outgoing.popleft())
                if socket.poll(POLL_MS):
                    yield from client.receive(socket.recv_multipart(), time.monotonic())
                elif monitor.poll(0) and not connection.pid:  # the file of a launch may be about to be replaced
                    raise Refusal(
                        f"The backend at {connection.endpoint} does not let the key in {path} in: it was revoked or never "
                        "listed; ask whoever runs the backend."
                    )
                elif has_changed(connection, path):
                    yield from client.lose(f"The backend at {connection.endpoint} was restarted.")
                yield from client.tick(time.monotonic())
        finally:
            client.close()
            with suppress(zmq.Again):  # the last words, such as that the picture is here
                while client.outgoing:
                    socket.send_multipart(client.outgoing.popleft(), zmq.DONTWAIT)
            socket.disable_monitor()
            monitor.close()


def read_connection_patiently(path: Path, until_s: float) -> ConnectionFile:
    """Wait until `path` is there: a backend that starts writes it when it listens."""
    while True:
        try:
            return read_connection(path)
        except FileNotFoundError as error:
            if time.monotonic() > until_s:
                raise Unreachable(f"No backend has written {path}: start one with `beyondscene serve`.") from error
            time.sleep(POLL_MS / 1000)


@cache
def warn_of_open_keys(path: Path) -> None:
    """Once, however often a command has to connect."""
    if is_open_to_others(path):
        say(f"warning: the keys in {path} are open to other users: `chmod 600 '{path}'`.")


def has_changed(connection: ConnectionFile, path: Path) -> bool:
    try:
        return read_connection(path) != connection
    except (OSError, Refusal):
        return False  # it has left, or is about to be replaced: silence will tell
