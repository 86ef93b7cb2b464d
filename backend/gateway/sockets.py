"""Encrypted ROUTER sockets that only listed keys can reach. The single place where socket options are set.

Three defaults of libzmq are traps: a ROUTER drops messages in silence unless ROUTER_MANDATORY is set, CURVE lets unknown
keys in unless a ZAP handler answers and ZAP_ENFORCE_DOMAIN is set, and a peer may send frames of any size.
"""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import zmq
from zmq.utils import z85

from ...protocol import ConnectionFile
from ...protocol.client import UPLOAD_BYTES_S

log = logging.getLogger(__name__)

MESSAGES_PER_TURN = 64  # so that no peer keeps the loop for itself
CURVE_BYTES = 256  # that a frame has more when it is encrypted: some 30, and the limit counts them
SEND_MESSAGES = 8  # in a pipe; with chunks of 1 MiB a client that does not read costs 8 MiB, and no more is ever queued
RECEIVE_MESSAGES = 64


class KeyPair(NamedTuple):
    """CURVE keys, Z85."""

    public: bytes
    secret: bytes

    @staticmethod
    def new() -> "KeyPair":
        return KeyPair(*zmq.curve_keypair())

    def connection(self, endpoint: str, server_public_key: str, pid: int = 0) -> ConnectionFile:
        """What a client who has these keys needs to find a backend and to be let in there; see ConnectionFile."""
        return ConnectionFile(
            endpoint=endpoint,
            server_public_key=server_public_key,
            client_public_key=self.public.decode(),
            client_secret_key=self.secret.decode(),
            pid=pid,
        )


class Incoming(NamedTuple):
    """One message: who sent it, by which key, what. Frames are views of libzmq's memory."""

    sender: bytes  # routing id, chosen by our socket, new with each connection
    key: str  # public key of the peer, Z85
    frames: list[memoryview]


class Door:
    """The sockets of one context and the handler (ZAP, RFC 27) that libzmq asks about everybody who knocks at them.

    It is answered in the gateway's own loop, because pyzmq's handler needs a thread and an event loop that Windows lacks.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._context = context
        self._allowed: dict[bytes, set[bytes]] = {}  # public keys, by domain
        self.turned_away = 0
        self.testing = False  # whether it is our own strangers who knock, see self_test
        self.socket = context.socket(zmq.REP)
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Decide about those who wait at the door."""
        while True:
            try:
                question = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.socket.send_multipart(self._decide(question))

    def _decide(self, question: list[bytes]) -> list[bytes]:
        version, number, domain, address, _, mechanism, *credentials = question
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
        if key and key in self._allowed.get(domain, ()):
            return [version, number, b"200", b"OK", key, b""]
        if not self.testing:
            self.turned_away += 1
            log.warning("somebody at %s without a listed key was turned away", address.decode(errors="replace"))
        return [version, number, b"400", b"no listed key", b"", b""]

    def bind(
        self, endpoint: str, domain: str, server: KeyPair, allowed: set[bytes], frame_limit_bytes: int
    ) -> zmq.Socket[bytes]:
        """A bound ROUTER whose peers prove one of the keys in `allowed`, which may change: it counts at each handshake.

        Raises zmq.ZMQError if the address is taken.
        """
        self._allowed[domain.encode()] = allowed
        socket = self._context.socket(zmq.ROUTER)
        socket.ipv6 = "[" in endpoint
        socket.curve_server = True
        socket.curve_secretkey = server.secret
        socket.curve_publickey = server.public
        socket.zap_domain = domain.encode()
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # refuse everybody if the handler should ever be gone
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a full pipe is EAGAIN and a lost peer EHOSTUNREACH, never silence
        socket.setsockopt(zmq.MAXMSGSIZE, frame_limit_bytes + CURVE_BYTES)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        # Only a whole frame is a sign of life, and the largest may be on a slow line.
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000 + 1000 * frame_limit_bytes // UPLOAD_BYTES_S)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.SNDHWM, SEND_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, RECEIVE_MESSAGES)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError:
            socket.close()
            raise
        return socket

    def close(self) -> None:
        """Nobody gets in any more: without a handler, ZAP_ENFORCE_DOMAIN refuses everybody."""
        self.socket.close()


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    """Where a bound socket listens, with the port it was given."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def receive(socket: zmq.Socket[bytes]) -> Iterator[Incoming]:
    """The messages that wait on `socket`, without waiting for more."""
    for _ in range(MESSAGES_PER_TURN):
        try:
            sender, *frames = socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return
        key = frames[0].get("User-Id") if frames else ""
        yield Incoming(sender.bytes, str(key), [frame.buffer for frame in frames])
