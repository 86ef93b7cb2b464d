"""One worker process: started, listened to, ended, and started again when it is lost."""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from ...protocol import Decoder, DeviceInfo, Heartbeat, Order, Ready, Report, RunJob, Shutdown, StopJob, WireError, encode
from ..launch import WorkerStart, encode_start
from ..machine import memory_kills
from .exits import REFUSED, describe_exit, last_line
from .logs import LOG_LIMIT_BYTES
from .room import shortage
from .settings import ServeSettings
from .sockets import Incoming, KeyPair, endpoint_of

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
REST_S = 10.0  # to give the device back; nothing is at stake
STUCK_PACES = 20  # a job may be quiet for so many times its longest quiet so far

decode_report = Decoder(Report)

Heard = tuple[Report, Sequence[memoryview | bytes]]


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
        log_folder: Path,
        number: int,
        device_name: str,
    ) -> None:
        """number: of this worker, for logs and metrics. device_name: as torch calls it, or "auto"."""
        self.number = number
        self.key = ""  # public key of the present process, Z85
        self.device: DeviceInfo | None = None  # None until the process is ready
        self.job_id: str | None = None  # of the job that it has, until that is released
        self.lost = ""  # why the last process was lost, until whoever is concerned has cleared it
        self.starved = False  # the last process that was lost was killed for want of memory
        self.failed_starts = 0  # in a row
        self.refusal = ""  # what the process has said is to be put right before any can work here, if none ever was ready
        self.resting = False  # it has ended for want of work, and starts when there is some
        self.seen: DeviceInfo | None = None  # the device as it was last told; of its memory nothing is known while resting
        self.log_path = log_folder / f"worker-{number}.log"
        self._log_start = 0  # of the present process, in bytes
        self._memory_kills = 0  # before the present process
        self._device_name = device_name
        self._settings = settings
        self._command = command
        self._socket = socket
        self._server_public_key = server_public_key
        self._allowed = allowed
        self._process: subprocess.Popen[bytes] | None = None
        self._routing_id = b""
        self._started_s = 0.0
        self._heard_s = 0.0
        self._start_at_s = 0.0
        self._reason = ""  # why it was ended, if it was us
        self._free_since_s = 0.0
        self._rest_by_s: float | None = None  # when it is killed for not having left, if it was asked to
        self._stopped_by_s: float | None = None  # when the process is killed for not having stopped its job

    @property
    def ready(self) -> bool:
        return self.device is not None

    @property
    def idle(self) -> bool:
        """Whether it can be given a job."""
        return self.ready and self.job_id is None and self._rest_by_s is None

    @property
    def expected(self) -> bool:
        """Whether it can be given a job soon, as far as one can tell."""
        return self.job_id is None and not self.resting and self._rest_by_s is None and not self.failed_starts

    @property
    def about(self) -> dict[str, int]:
        """For `extra=` of a log line."""
        return {"worker": self.number}

    def hear(self, message: Incoming, now_s: float) -> Heard | None:
        """A message of the present process: its report, or None for what is none, after which the process is ended."""
        self._heard_s = now_s
        self._routing_id = message.sender
        try:
            report, payload = decode_report(message.frames)
        except WireError as error:
            self.end(f"The worker process sent what is no report ({error}).")
            return None
        if isinstance(report, Ready):
            self.device = self.seen = report.device
            self.failed_starts, self.refusal, self._free_since_s = 0, "", now_s
            words = "worker %d is ready: process %d on %s"
            log.info(words, self.number, report.pid, report.device.name, extra=self.about)
        if isinstance(report, Heartbeat) and self.device:
            self.device = self.seen = report.device or self.device  # with what is free now
            self._limit_log()
        if self.job_id is not None:
            self._free_since_s = now_s
        if isinstance(report, Heartbeat) and is_stuck(report, self._settings.stuck_s):
            self.end(f"The job was stuck: its worker lived, but did not get on with it for {report.quiet_s:.0f} s.")
        return report, payload

    def work(self, work: RunJob, *payload: memoryview | bytes) -> None:
        """Give the process a job, which it has until it is released."""
        self.job_id = work.job_id
        self.send(work, *payload)

    def halt(self, attempt: int, now_s: float) -> None:
        """Have the process stop its job; it is killed if it takes too long."""
        assert self.job_id is not None
        self._stopped_by_s = now_s + self._settings.halt_grace_s
        self.send(StopJob(job_id=self.job_id, attempt=attempt))

    def release(self) -> None:
        """The process is done with its job, whether or not it was to stop it."""
        self.job_id = self._stopped_by_s = None

    def send(self, order: Order, *payload: memoryview | bytes) -> None:
        """Give an order. A worker that cannot take it is ended, which `check` then tells."""
        try:
            self._socket.send_multipart([self._routing_id, *encode(order, payload)], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            self.end(f"The worker process could not be reached ({error}).")

    def check(self, now_s: float, wanted: bool = True) -> None:
        """Start the process where it is time to; where it was lost, `lost` says why. Raises OSError for a shortage (room.py).

        wanted: whether there is a job for one that rests.
        """
        if self._process is None:
            if now_s >= self._start_at_s and (wanted or not self.resting):
                self._start(now_s)
            return
        if self._rest_by_s is not None:
            self._see_off(self._rest_by_s, now_s)
            return
        release_s = self._settings.release_s
        if self.idle and release_s is not None and now_s - self._free_since_s > release_s:
            self._rest_by_s = now_s + REST_S
            self.ask_to_leave()
            return
        if self._stopped_by_s is not None and now_s > self._stopped_by_s:
            self.end(f"The worker process did not stop job {self.job_id} in time.")
        code = self._process.poll()
        if code is None:
            if now_s - self._heard_s > self._settings.worker_silence_s:
                self.end(f"The worker process gave no sign of life for {self._settings.worker_silence_s:.0f} s.")
            elif not self.ready and now_s - self._started_s > self._settings.worker_start_s:
                self.end(f"The worker process was not ready after {self._settings.worker_start_s:.0f} s.")
        else:
            if code == REFUSED and self.seen is None:
                self.refusal = last_line(self.log_path, self._log_start).removeprefix("beyondscene: ")
            self.starved = memory_kills() > self._memory_kills and not self._reason and code == -signal.SIGKILL
            self._lose(self._reason or describe_exit(code), now_s)

    def end(self, reason: str) -> None:
        """Kill the process. `check` tells of the loss when it is gone, with `reason`."""
        if self._process is not None and not self._reason:
            log.warning("%s It is killed.", reason, extra=self.about)
            self._reason = reason
            self._process.kill()

    def ask_to_leave(self) -> None:
        if self._process is not None and self._routing_id:
            self.send(Shutdown())

    def stop(self, wait_s: float) -> None:
        """Wait up to `wait_s` until the process has left, or else kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(wait_s if self.ready else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _start(self, now_s: float) -> None:
        keys = KeyPair.new()
        self.key = keys.public.decode()
        self._allowed.add(keys.public)
        self._started_s = self._heard_s = now_s
        self._memory_kills = memory_kills()
        self._limit_log()
        try:
            with self.log_path.open("ab") as output:
                self._log_start = output.tell()
                process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            if shortage(error, self.log_path.parent):
                self._close()
                raise
            self._lose(f"The worker process could not be started ({error}).", now_s)
            return
        self._process, self.resting = process, False
        start = WorkerStart(
            endpoint=endpoint_of(self._socket),
            server_public_key=self._server_public_key.decode(),
            public_key=self.key,
            secret_key=keys.secret.decode(),
            device=self._device_name,
            precision=self._settings.precision,
            offload=self._settings.offload,
        )
        try:
            assert process.stdin is not None
            process.stdin.write(encode_start(start))
            process.stdin.flush()
        except OSError:
            pass  # it has ended already; `check` tells
        log.info("started worker %d: process %d for %s", self.number, process.pid, self._device_name, extra=self.about)

    def _limit_log(self) -> None:
        """Begin the log anew where it is too long, and keep a copy of the old one: the process goes on in the file it has."""
        with suppress(OSError):
            if self.log_path.stat().st_size > LOG_LIMIT_BYTES:
                shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
                os.truncate(self.log_path, 0)
                self._log_start = 0

    def _see_off(self, by_s: float, now_s: float) -> None:
        """It was asked to leave for want of work."""
        assert self._process is not None
        if self._process.poll() is None:
            if now_s > by_s:
                self._process.kill()
            return
        self._close()
        self.resting = True
        self.seen = self.seen and msgspec.structs.replace(self.seen, free_bytes=0, total_bytes=0)  # unknown
        log.info("worker %d has left its device until there is a job", self.number, extra=self.about)

    def _lose(self, reason: str, now_s: float) -> None:
        pause_s = 0.0
        if not self.ready:  # it achieved nothing, so the next one will hardly do better
            self.failed_starts += 1
            if words := last_line(self.log_path, self._log_start):
                reason += f" Its last words: '{words}'."
            pause_s = min(0.5 * 2**self.failed_starts, LONGEST_PAUSE_S)
        log.error("%s The next one starts in %.0f s.", reason, pause_s, extra=self.about)
        self._close()
        self._start_at_s = now_s + pause_s
        self.lost = reason

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # what it did not read any more
                self._process.stdin.close()
        self._allowed.discard(self.key.encode())
        self._process = self.device = self._stopped_by_s = self._rest_by_s = None
        self.key = self._reason = ""
        self._routing_id = b""


def is_stuck(beat: Heartbeat, stuck_s: float | None) -> bool:
    """Whether a job has been quiet for longer than `stuck_s`, and than STUCK_PACES times its longest quiet so far, as a slow
    device makes all of them long. stuck_s: None where no job ever counts as stuck.
    """
    if stuck_s is None or beat.quiet_s is None:
        return False
    return beat.quiet_s > max(stuck_s, STUCK_PACES * beat.longest_quiet_s)
