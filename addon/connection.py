"""The thread that owns the socket to the backend. It never touches bpy; what it hears waits in a queue."""

import queue
import threading
import time
from collections.abc import Callable

import zmq

from ..protocol import ConnectionFile
from ..protocol.client import Client, Heard, Lost
from .backend_process import BackendError

POLL_MS = 30  # how long a wish of the main thread may wait


class Connection:
    """A conversation with one backend, from construction to `close`.

    backend: finds it, in the thread; raises BackendError. endpoint: empty before that.

    >>> connection = Connection(lambda: read_connection(path), "blender 4.5")
    >>> connection.ask(lambda client: client.submit(job_id, request, picture_path))
    >>> connection.hear()  # now and then, on the main thread
    """

    def __init__(self, backend: Callable[[], ConnectionFile], label: str) -> None:
        self.endpoint = ""
        self._find = backend
        self._label = label
        self._wishes: queue.SimpleQueue[Callable[[Client], None]] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._closing = threading.Event()
        # A daemon, so that leaving Blender never waits for a backend.
        self._thread = threading.Thread(target=self._run, name="beyondscene-connection", daemon=True)
        self._thread.start()

    def ask(self, wish: Callable[[Client], None]) -> None:
        """Have the socket's thread call `wish` with its client; wishes keep their order."""
        self._wishes.put(wish)

    def hear(self) -> Heard | None:
        """The oldest word that was not heard yet. Never waits."""
        try:
            return self._heard.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the conversation and wait for its thread, which takes no longer than a poll."""
        self._closing.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            backend = self._find()
            if not self._closing.is_set():  # while that took its time
                self.endpoint = backend.endpoint
                self._hold(backend)
        except BackendError as error:  # its key file may be on a drive that is not there
            self._heard.put((Lost(message=str(error), passing=True), []))
        except Exception as error:  # a thread that dies in silence would leave the panel waiting for ever
            self._heard.put((Lost(message=f"The connection to {self.endpoint} broke: {error}."), []))

    def _hold(self, backend: ConnectionFile) -> None:
        client = Client(backend.endpoint, self._label, time.monotonic(), overwrite=False)
        try:
            with zmq.Context() as context, open_socket(context, backend) as socket:
                self._talk(client, socket)
        finally:
            client.close()

    def _talk(self, client: Client, socket: zmq.Socket[bytes]) -> None:
        while not self._closing.is_set() and client.lost is None:
            while not self._wishes.empty():
                self._wishes.get()(client)
            events: list[Heard] = []
            if socket.poll(POLL_MS):
                events += client.receive(socket.recv_multipart(), time.monotonic())
            events += client.tick(time.monotonic())
            send_all(client, socket)
            for event in events:
                self._heard.put(event)
        if client.lost is None:  # closed by us: let the last words, such as a cancel, go
            while not self._wishes.empty():
                self._wishes.get()(client)
            send_all(client, socket)


def open_socket(context: zmq.Context[zmq.Socket[bytes]], backend: ConnectionFile) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.linger = 200
    socket.ipv6 = "[" in backend.endpoint  # a name is asked for its IPv4 address
    socket.immediate = 1  # nothing is queued for a backend that is not there
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
    socket.curve_serverkey = backend.server_public_key.encode()
    socket.curve_publickey = backend.client_public_key.encode()
    socket.curve_secretkey = backend.client_secret_key.encode()
    socket.connect(backend.endpoint)
    return socket


def send_all(client: Client, socket: zmq.Socket[bytes]) -> None:
    """Send what waits, as far as the peer takes it."""
    while client.outgoing:
        try:
            socket.send_multipart(client.outgoing[0], zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return
        client.outgoing.popleft()
