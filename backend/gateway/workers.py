"""All worker processes, one for each device, behind one socket."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import zmq

from ...protocol import DeviceInfo, Ready
from .sockets import receive
from .supervisor import Heard, Supervisor

log = logging.getLogger(__name__)

LEAVE_S = 3.0  # that all have together to leave by themselves


class Workers:
    """One supervisor per device. "auto" is one worker, which on its Ready says for which other devices there are to be more.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, devices: Sequence[str], socket: zmq.Socket[bytes], hire: Callable[[int, str], Supervisor]) -> None:
        """hire: makes the supervisor of a worker from its number and its device; its process speaks through `socket`."""
        self._socket = socket
        self._hire = hire
        self._auto = tuple(devices) == ("auto",)
        self._all: list[Supervisor] = []
        self._add(devices)

    def __iter__(self) -> Iterator[Supervisor]:
        return iter(self._all)

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """Those of the workers that are ready, or rest."""
        seen = (worker.device or (worker.seen if worker.resting else None) for worker in self._all)
        return tuple(device for device in seen if device is not None)

    @property
    def refusal(self) -> str:
        """What one of them has said is to be put right, where each has said so; empty otherwise."""
        return self._all[0].refusal if all(worker.refusal for worker in self._all) else ""

    def idle(self) -> Supervisor | None:
        """A worker that is ready and has no job."""
        return next((worker for worker in self._all if worker.idle), None)

    def with_job(self, job_id: str) -> Supervisor | None:
        return next((worker for worker in self._all if worker.job_id == job_id), None)

    def receive(self, now_s: float) -> list[Heard]:
        """What the present processes have reported; the words of earlier ones are dropped."""
        reports = []
        for message in receive(self._socket):
            worker = next((known for known in self._all if known.key == message.key), None)
            if worker is None:
                log.info("a word from a worker that was given up is ignored")
                continue
            heard = worker.hear(message, now_s)
            if heard is None:
                continue
            if isinstance(heard[0], Ready) and self._auto and len(self._all) == 1:
                self._add(heard[0].devices[1:])
            reports.append(heard)
        return reports

    def stop(self) -> None:
        """Let the processes leave by themselves, or else kill them."""
        for worker in self._all:
            worker.ask_to_leave()
        by_s = time.monotonic() + LEAVE_S
        for worker in self._all:
            worker.stop(max(0.0, by_s - time.monotonic()))

    def _add(self, devices: Sequence[str]) -> None:
        for device in devices:
            self._all.append(self._hire(len(self._all), device))
