"""The worker's end of the line to its gateway: one thread owns the socket, and sends a heartbeat whatever the job does."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

import zmq

from ..protocol import (
    Decoder,
    DeviceInfo,
    Heartbeat,
    JobPreview,
    JobProgress,
    Order,
    Report,
    RunJob,
    Shutdown,
    StopJob,
    WireError,
    encode,
)
from ..protocol.codec import HEADER_LIMIT_BYTES
from .launch import WorkerStart

log = logging.getLogger(__name__)

TURN_MS = 20  # the longest that a report waits before it is sent
LEAVE_MS = 1000  # for the last reports, when the line is closed

decode_order = Decoder(Order, 16 * HEADER_LIMIT_BYTES)  # a request with all that the client left out, and folders


class Pulse:
    """Whether the present job gets on. The job's thread feels it, the line's thread tells of it in its heartbeats."""

    def __init__(self) -> None:
        self._working = self._felt = False
        self._quiet_s = self._longest_s = 0.0

    @contextlib.contextmanager
    def of_a_job(self) -> Iterator[None]:
        """Within, there is a job."""
        self._quiet_s = self._longest_s = 0.0
        self._working = self._felt = True
        try:
            yield
        finally:
            self._working = False

    def beat(self) -> None:
        """The job gets on."""
        self._felt = True

    def heartbeat(self, device: DeviceInfo | None, passed_s: float) -> Heartbeat:
        """passed_s: since the last one. What is told are sums of it, in which a machine that slept has not passed its sleep."""
        if self._felt:
            self._longest_s, self._quiet_s, self._felt = max(self._longest_s, self._quiet_s), 0.0, False
        else:
            self._quiet_s += passed_s
        quiet_s = self._quiet_s if self._working else None
        return Heartbeat(device=device, quiet_s=quiet_s, longest_quiet_s=self._longest_s)


Received = tuple[RunJob, list[bytes | memoryview]]
Outgoing = tuple[Report, tuple[bytes, ...]]


class Line:
    """Orders come in by `next_work`, reports go out by `report`; both may be called from any thread."""

    def __init__(self, start: WorkerStart) -> None:
        self.look: Callable[[], DeviceInfo | None] = lambda: None  # at the device, for each heartbeat
        self.pulse = Pulse()
        self._start = start
        self._works: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[Outgoing] = queue.SimpleQueue()
        self._halted: set[tuple[str, int]] = set()
        self._leaving = threading.Event()  # by order of the gateway
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)

    def open(self) -> None:
        """From now on the gateway gets heartbeats."""
        self._thread.start()

    def next_work(self) -> Received | None:
        """Wait for a job; None when the worker is to leave."""
        return self._works.get()

    def report(self, report: Report, *payload: bytes) -> None:
        self._reports.put((report, payload))

    def halted(self, job_id: str, attempt: int) -> bool:
        """Whether this attempt is to be stopped."""
        return self._leaving.is_set() or (job_id, attempt) in self._halted

    def close(self) -> None:
        """Send what is still to be sent, and hang up."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        with zmq.Context() as context, self._connect(context) as socket:
            beat_s = time.monotonic() - self._start.heartbeat_s
            closed = False
            while not closed:
                closed = self._closed.is_set()  # asked before the last turn, which sends what came until then
                if socket.poll(TURN_MS):
                    self._take(socket)
                passed_s = time.monotonic() - beat_s
                if passed_s >= self._start.heartbeat_s:
                    beat_s += passed_s
                    self.report(self.pulse.heartbeat(self.look(), min(passed_s, 2 * self._start.heartbeat_s)))
                self._send(socket)

    def _take(self, socket: zmq.Socket[bytes]) -> None:
        try:
            order, payload = decode_order(socket.recv_multipart())
        except WireError as error:  # never from our own gateway; it will find the job unanswered
            log.error("an order was not understood: %s", error)
            return
        match order:
            case RunJob():
                self._works.put((order, payload))
            case StopJob():
                self._halted.add((order.job_id, order.attempt))
            case Shutdown():
                self._leaving.set()
                self._works.put(None)

    def _send(self, socket: zmq.Socket[bytes]) -> None:
        """Send what waits; what only tells how far the job is may get lost where the gateway does not read."""
        while not self._reports.empty():
            report, payload = self._reports.get()
            flags = zmq.DONTWAIT if isinstance(report, Heartbeat | JobProgress | JobPreview) else 0
            with contextlib.suppress(zmq.Again):
                socket.send_multipart(encode(report, payload), flags)

    def _connect(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        socket = context.socket(zmq.DEALER)
        socket.curve_serverkey = self._start.server_public_key.encode()
        socket.curve_publickey = self._start.public_key.encode()
        socket.curve_secretkey = self._start.secret_key.encode()
        socket.setsockopt(zmq.LINGER, LEAVE_MS)
        socket.connect(self._start.endpoint)
        return socket
