"""Knock at our own door before anybody else does: whoever is not listed must stay outside."""

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from .settings import ServeError
from .sockets import Door, KeyPair

PATIENCE_S = 20.0  # a handshake takes milliseconds
TURN_MS = 5

IN = {zmq.EVENT_HANDSHAKE_SUCCEEDED}
OUT = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_DISCONNECTED,
}  # fmt: skip


def check_door(
    context: zmq.Context[zmq.Socket[bytes]], door: Door, endpoint: str, server_public_key: bytes, listed: set[bytes]
) -> None:
    """A listed key must get in, an unknown one and a peer without any must not. Raises ServeError.

    listed: the keys that the door lets in; one more for the moment of the test.
    """
    known = KeyPair.new()
    listed.add(known.public)
    door.testing = True
    try:
        if not knock(context, door, endpoint, server_public_key, known):
            raise ServeError(f"The self-test failed: a listed key was turned away at {endpoint}. See the log.")
        for stranger in (KeyPair.new(), None):
            if knock(context, door, endpoint, server_public_key, stranger):
                raise ServeError(
                    f"The self-test failed: somebody without a listed key got in at {endpoint}, so nothing is served. "
                    f"Install pyzmq anew (this is {zmq.__version__} with libzmq {zmq.zmq_version()})."
                )
    finally:
        door.testing = False
        listed.discard(known.public)


def knock(
    context: zmq.Context[zmq.Socket[bytes]], door: Door, endpoint: str, server_public_key: bytes, keys: KeyPair | None
) -> bool:
    """Whether a handshake with these keys succeeds; None: without CURVE."""
    with context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.ipv6 = "[" in endpoint
        if keys is not None:
            socket.curve_serverkey = server_public_key
            socket.curve_publickey, socket.curve_secretkey = keys
        monitor = socket.get_monitor_socket()
        try:
            socket.connect(endpoint)
            end_s = time.monotonic() + PATIENCE_S
            while time.monotonic() < end_s:
                door.answer()
                if monitor.poll(TURN_MS):
                    event = recv_monitor_message(monitor)["event"]
                    if event in IN | OUT:
                        return event in IN
        finally:
            socket.disable_monitor()
            monitor.close()
    raise ServeError(f"The self-test got no answer from our own address {endpoint} in {PATIENCE_S:.0f} s: is it reachable?")
