"""One worker process: started, listened to, ended, and started again when it is lost."""

import logging
import signal
import subprocess
import time
from pathlib import Path

import zmq

from ...protocol import Decoder, DeviceInfo, Halt, Heartbeat, Ready, Report, Shutdown, WireError, Work, encode
from ..launch import WorkerStart, encode_start
from .settings import ServeSettings
from .sockets import KeyPair, endpoint_of, receive

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
LEAVE_S = 3.0
STUCK_PACES = 20  # a job may be quiet for so many times its longest quiet so far
LOG_LIMIT_BYTES = 4 * 1024 * 1024

decode_report = Decoder(Report)


class Supervisor:
    """Keeps one worker process alive. Each process gets keys of its own, so that a word from an earlier one is known as such.

    Times are seconds of a monotonic clock.
    """

    def __init__(
        self,
        settings: ServeSettings,
        command: tuple[str, ...],
        socket: zmq.Socket[bytes],
        server_public_key: bytes,
        allowed: set[bytes],
        log_path: Path,
    ) -> None:
        self.device: DeviceInfo | None = None  # None until the process is ready
        self.failed_starts = 0  # in a row
        self.log_path = log_path
        self._settings = settings
        self._command = command
        self._socket = socket
        self._server_public_key = server_public_key
        self._allowed = allowed
        self._process: subprocess.Popen[bytes] | None = None
        self._key = ""
        self._routing_id = b""
        self._started_s = 0.0
        self._heard_s = 0.0
        self._start_at_s = 0.0
        self._reason = ""  # why it was ended, if it was us
        self._halting: dict[str, float] = {}  # job id -> when the process is killed for not having stopped it

    @property
    def ready(self) -> bool:
        return self.device is not None

    def receive(self, now_s: float) -> list[tuple[Report, list[memoryview]]]:
        """What the present process has reported; the words of earlier ones are dropped."""
        reports = []
        for message in receive(self._socket):
            if message.key != self._key:
                log.info("a word from a worker that was given up is ignored")
                continue
            self._heard_s = now_s
            self._routing_id = message.sender
            try:
                report, payload = decode_report(message.frames)
            except WireError as error:
                self.end(f"The worker process sent what is no report ({error}).")
                break
            if isinstance(report, Ready):
                self.device = report.device
                self.failed_starts = 0
                log.info("the worker is ready: process %d on %s", report.pid, report.device.name)
            if isinstance(report, Heartbeat) and self.device:
                self.device = report.device or self.device  # with what is free now
            if isinstance(report, Heartbeat) and is_stuck(report, self._settings.stuck_s):
                self.end(f"The job was stuck: its worker lived, but did not get on with it for {report.quiet_s:.0f} s.")
            reports.append((report, payload))
        return reports

    def send(self, order: Work | Halt | Shutdown, *payload: memoryview | bytes) -> None:
        """Give an order. A worker that cannot take it is ended, which `check` then tells."""
        try:
            self._socket.send_multipart([self._routing_id, *encode(order, payload)], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            self.end(f"The worker process could not be reached ({error}).")

    def halt(self, job_id: str, attempt: int, now_s: float) -> None:
        """Have the process stop a job; it is killed if it takes too long."""
        self._halting[job_id] = now_s + self._settings.halt_grace_s
        self.send(Halt(job_id=job_id, attempt=attempt))

    def halted(self, job_id: str) -> None:
        """The process is done with a job, whether or not it was to stop it."""
        self._halting.pop(job_id, None)

    def check(self, now_s: float) -> str | None:
        """Start the process where it is time to; return why it was lost, once, where it was lost."""
        for job_id, by_s in self._halting.items():
            if now_s > by_s:
                self.end(f"The worker process did not stop job {job_id} in time.")
        if self._process is None:
            return self._start(now_s) if now_s >= self._start_at_s else None
        code = self._process.poll()
        if code is None:
            if now_s - self._heard_s > self._settings.worker_silence_s:
                self.end(f"The worker process gave no sign of life for {self._settings.worker_silence_s:.0f} s.")
            elif not self.ready and now_s - self._started_s > self._settings.worker_start_s:
                self.end(f"The worker process was not ready after {self._settings.worker_start_s:.0f} s.")
            return None
        return self._lost(self._reason or describe_exit(code), now_s)

    def end(self, reason: str) -> None:
        """Kill the process. `check` tells of the loss when it is gone, with `reason`."""
        if self._process is not None and not self._reason:
            log.warning("%s It is killed.", reason)
            self._reason = reason
            self._process.kill()

    def stop(self) -> None:
        """Let the process leave by itself, or else kill it."""
        if self._process is None:
            return
        if self._routing_id:
            self.send(Shutdown())
        try:
            self._process.wait(LEAVE_S if self.ready else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def last_words(self) -> str:
        """The last line that the worker has logged, for the message of a failure."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - 4096))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _start(self, now_s: float) -> str | None:
        """Return why it could not be started, if so."""
        keys = KeyPair.new()
        self._key = keys.public.decode()
        self._allowed.add(keys.public)
        self._started_s = self._heard_s = now_s
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        try:
            with self.log_path.open("ab") as output:
                process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            return self._lost(f"The worker process could not be started ({error}).", now_s)
        self._process = process
        start = WorkerStart(
            endpoint=endpoint_of(self._socket),
            server_public_key=self._server_public_key.decode(),
            public_key=self._key,
            secret_key=keys.secret.decode(),
        )
        try:
            assert process.stdin is not None
            process.stdin.write(encode_start(start))
            process.stdin.flush()
        except OSError:
            pass  # it has ended already; `check` tells
        log.info("started a worker: process %d", process.pid)
        return None

    def _lost(self, reason: str, now_s: float) -> str:
        pause_s = 0.0
        if not self.ready:  # it achieved nothing, so the next one will hardly do better
            self.failed_starts += 1
            pause_s = min(0.5 * 2**self.failed_starts, LONGEST_PAUSE_S)
        log.error("%s The next one starts in %.0f s.", reason, pause_s)
        self._close()
        self._start_at_s = now_s + pause_s
        return reason

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        self.device = None
        self._key = self._reason = ""
        self._routing_id = b""
        self._allowed.clear()
        self._halting.clear()


def is_stuck(beat: Heartbeat, stuck_s: float) -> bool:
    """Whether a job has been quiet for so long, and longer than its own pace explains: a large picture on a slow device."""
    return beat.quiet_s is not None and beat.quiet_s > max(stuck_s, STUCK_PACES * beat.longest_quiet_s)


def describe_exit(code: int) -> str:
    """A sentence on how a process ended, with the likely cause."""
    if code >= 0:
        return f"The worker process ended with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return (
            f"The worker process was killed (exit code {code}, SIGKILL); most likely the machine ran out of memory: "
            "choose a smaller size or close other programs."
        )
    return f"The worker process crashed (exit code {code}, {name})."


def now() -> float:
    """Seconds of the clock that all parts of the gateway use; it never jumps."""
    return time.monotonic()
