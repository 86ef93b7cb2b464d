"""The client's side of the conversation: what to send on which event. No sockets and no clock, so every client shares it.

The owner of the socket calls `receive` with what came, `tick` now and then, and sends what `outgoing` holds.
"""

import secrets
import time
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from .codec import Decoder, Frames, WireError, describe_array, encode
from .events import (
    Accepted,
    Cancelled,
    Chunk,
    Estimated,
    Event,
    Failed,
    Finished,
    JobsListed,
    Paused,
    Refused,
    Rejected,
    Started,
    Stopping,
    Welcome,
)
from .messages import VERSION, PictureFormat
from .outcomes import Lost, Saved, Spoilt, say_unwritable
from .requests import Cancel, Estimate, Hello, ListJobs, Ping, Received, Submit, Subscribe, too_large
from .scene import RenderRequest
from .transfer import Transfer

GREETING_S = 10.0  # a backend that listens answers within milliseconds; one that has just started, within seconds
PING_S = 1.0
UPLOAD_BYTES_S = 500_000  # that a slow line takes at least: pings stand behind the masks of a request, in the same line
SILENCE_S = 15.0  # the gateway computes nothing, so it answers while a model loads
RECEIPTS = 8  # the newest are said again, as no answer tells whether they have come
ASLEEP_S = 5.0  # nobody who is awake lets so much pass between two ticks


def new_job_id() -> str:
    """A UUIDv7: unique, and in the order of time."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | (7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return str(uuid.UUID(int=value))


Question = tuple[Literal["job", "cancel", "jobs", "estimate"], str]  # what is still to be answered, and of which job
Heard = tuple[Event | Lost | Saved | Spoilt, Frames]  # what happened, and its payload frames


class Client:
    """One conversation with one backend. Where the line breaks and stands again, or another gateway takes the place of the one
    that has ended, everything that is still to be answered is said again; outside only its `Welcome` is heard.

    endpoint: for the messages only.
    label: who this is, for the backend's log.
    overwrite: whether a picture takes the place of a file that has its name by then.
    """

    def __init__(self, endpoint: str, label: str, now: float, *, overwrite: bool = True) -> None:
        self.outgoing: deque[Frames] = deque()
        self.welcome: Welcome | None = None
        self.lost: Lost | None = None
        self._endpoint = endpoint
        self._overwrite = overwrite
        self._decode = Decoder(Event)
        self._opened = self._heard = self._pinged = self._ticked = now
        self._targets: dict[str, Path] = {}
        self._transfers: dict[str, Transfer] = {}
        self._unanswered: dict[Question, Frames] = {}
        self._hello = encode(Hello(versions=(VERSION, VERSION), client=label))
        self._refused: list[Refused] = []  # before it was sent, to be heard at the next tick
        self._receipts: deque[Frames] = deque(maxlen=RECEIPTS)
        self._greeting = True  # until the Welcome
        self._cancel_at: float | None = None  # when ends that were refused for now are asked for again
        self.outgoing.append(self._hello)

    def submit(
        self,
        job_id: str,
        request: RenderRequest,
        path: Path | None,
        models: str = "embedded",
        arrays: Sequence[np.ndarray] = (),
        priority: int = 0,
        picture_format: PictureFormat = "png",
    ) -> None:
        """Order a picture; with a `path`, whose folder exists, it is fetched once finished, and `Saved` is heard.

        More than a backend takes is not sent: `Refused` is heard.
        """
        data = [np.ascontiguousarray(array) for array in arrays]
        message = Submit(
            job_id=job_id,
            request=request,
            models=models,
            arrays=tuple(map(describe_array, data)),
            priority=priority,
            picture_format=picture_format,
        )
        frames = encode(message, [array.data.cast("B") for array in data])
        if sentence := too_large(frames):
            self._refused.append(Refused(job_id=job_id, message=sentence))
            return
        if path:
            self._targets[job_id] = path
        self._ask(("job", job_id), frames)

    def follow(self, job_id: str, path: Path | None = None) -> None:
        """Hear of a job that was submitted before, from its first event on; with a `path` it is fetched once finished."""
        if path:
            self._targets[job_id] = path
        self._ask(("job", job_id), encode(Subscribe(job_id=job_id)))

    def list_jobs(self, job_id: str | None = None, limit: int = 100) -> None:
        """Ask for `JobsListed`: the newest `limit` jobs, or one."""
        self._ask(("jobs", ""), encode(ListJobs(job_id=job_id, limit=limit)))

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job: `Cancelled` is heard, or the end that it reached before. It is asked for again where the
        backend's disk is too full to note it, of which `Refused` tells."""
        self._ask(("cancel", job_id), encode(Cancel(job_id=job_id)))

    def estimate(self, key: str, request: RenderRequest, models: str = "embedded") -> None:
        """Ask what a picture would take: `Estimated` is heard, with this key."""
        self._ask(("estimate", ""), encode(Estimate(key=key, request=request, models=models)))

    def greet(self) -> None:
        """Ask for `Welcome` again, with the models as they are now."""
        self.ping()  # on a new connection the gateway answers it as such, but not a Hello, which would begin all anew
        self.outgoing.append(self._hello)

    def ping(self) -> None:
        """Ask for `Pong`, with the device as it is now. Silence is broken by itself."""
        self.outgoing.append(encode(Ping()))

    def receive(self, frames: Sequence[bytes | memoryview], now: float) -> list[Heard]:
        """Take one message of the backend; what the caller should know comes back."""
        if self.lost:
            return []
        try:
            event, payload = self._decode(frames)
        except WireError as error:
            return self.lose(f"The backend at {self._endpoint} speaks another language ({error}).")
        self._heard = now
        if isinstance(event, Refused) and event.later and ("cancel", event.job_id) in self._unanswered:
            self._cancel_at = now + PING_S
            return [(event, payload)]  # the job goes on, and its picture comes where it is done first
        self._note_answer(event)
        match event:
            case Welcome() if event.version != VERSION:
                return self.lose(self._mismatch((event.version, event.version), ""))
            case Refused(greet=True):
                self._greet_again(now)
                return []
            case Welcome():
                self.welcome, self._greeting = event, False
            case Rejected():
                return self.lose(self._mismatch(event.versions, event.message))
            case Chunk():
                return self._take(event, payload)
            case Finished() if event.job_id in self._targets:
                return [(event, payload), *self._start(event)]
            case Failed() | Cancelled() | Refused():
                self._forget(event.job_id or "")
        return [(event, payload)]

    def tick(self, now: float) -> list[Heard]:
        """Let time pass: `Refused` for what was not sent, a ping where it is due, `Lost` after too long a silence.

        A time without ticks is nobody's silence: the machine was asleep.
        """
        if self.lost:
            return []
        if (gap := now - self._ticked) > ASLEEP_S:
            self._opened, self._heard, self._pinged = (min(now, at + gap) for at in (self._opened, self._heard, self._pinged))
        self._ticked = now
        if self._refused:
            refused, self._refused = self._refused, []
            return [(event, []) for event in refused]
        if self._cancel_at is not None and now >= self._cancel_at:
            self._cancel_at = None
            self.outgoing.extend(frames for (kind, _), frames in self._unanswered.items() if kind == "cancel")
        if self.welcome is None:
            if now - self._opened > GREETING_S:
                return self.lose(
                    f"No backend answers at {self._endpoint}: start it, and see that this connection file is its own, and its "
                    "key still listed there.",
                    passing=True,
                )
        elif now - self._heard > SILENCE_S + self._unconfirmed_bytes() / UPLOAD_BYTES_S:
            return self.lose(
                f"The backend at {self._endpoint} has been silent for {now - self._heard:.0f} s: see its log, "
                "then start it again.",
                passing=True,
            )
        elif now - max(self._heard, self._pinged) > PING_S:
            self._pinged = now
            self.ping()
        return []

    def lose(self, message: str, *, passing: bool = False) -> list[Heard]:
        """End the conversation; what has come of pictures stays on the disk for the next one."""
        for transfer in self._transfers.values():
            transfer.suspend()
        self._targets.clear()
        self._transfers.clear()
        self.lost = Lost(message=message, passing=passing)
        return [(self.lost, [])]

    def close(self) -> None:
        """Leave nothing half-written behind."""
        for job_id in {*self._targets, *self._transfers}:
            self._forget(job_id)

    def _start(self, finished: Finished) -> list[Heard]:
        path = self._targets.pop(finished.job_id)
        try:
            transfer = Transfer(finished, path, overwrite=self._overwrite)
        except OSError as error:
            return [(say_unwritable(finished.job_id, path, error), [])]
        except ValueError as error:
            return [(Spoilt(job_id=finished.job_id, message=f"The picture cannot be written: {error}."), [])]
        return self._go_on(transfer)

    def _take(self, chunk: Chunk, payload: Frames) -> list[Heard]:
        transfer = self._transfers.get(chunk.job_id)
        if transfer is None:
            return []
        try:
            transfer.take(chunk, payload)
        except OSError as error:
            self._forget(chunk.job_id)
            return [(say_unwritable(chunk.job_id, transfer.path, error), [])]
        except ValueError as error:
            self._forget(chunk.job_id)
            return [(Spoilt(job_id=chunk.job_id, message=f"The picture could not be brought here: {error}."), [])]
        return self._go_on(transfer)

    def _go_on(self, transfer: Transfer) -> list[Heard]:
        finished = transfer.finished
        if not transfer.complete:
            self._transfers[finished.job_id] = transfer
            self.outgoing.extend(encode(message) for message in transfer.requests())
            return []
        self._transfers.pop(finished.job_id, None)
        if self.welcome is not None and self.welcome.receipts:
            receipt = encode(Received(job_id=finished.job_id, digest=finished.digest))
            self._receipts.append(receipt)
            self.outgoing.append(receipt)
        return [(Saved(job_id=finished.job_id, path=transfer.path, finished=finished), [])]

    def _ask(self, question: Question, frames: Frames) -> None:
        """Say what wants an answer, and keep it until that has come."""
        self._unanswered[question] = frames
        self.outgoing.append(frames)

    def _unconfirmed_bytes(self) -> int:
        """That may still be on their way."""
        return sum(memoryview(frame).nbytes for frames in self._unanswered.values() for frame in frames)

    def _note_answer(self, event: Event) -> None:
        """An answer has come."""
        match event:
            case JobsListed():
                self._unanswered.pop(("jobs", ""), None)
            case Estimated():
                self._unanswered.pop(("estimate", ""), None)
            case Finished() | Failed() | Cancelled() | Refused() if event.job_id:
                self._unanswered.pop(("job", event.job_id), None)
                self._unanswered.pop(("cancel", event.job_id), None)
            case Stopping():
                self._unanswered.pop(("cancel", event.job_id), None)
                self._unanswered["job", event.job_id] = encode(Subscribe(job_id=event.job_id, since_seq=event.seq + 1))
            case Accepted() | Started() | Paused():  # from here on there is no need to submit it again
                self._unanswered["job", event.job_id] = encode(Subscribe(job_id=event.job_id, since_seq=event.seq + 1))

    def _greet_again(self, now: float) -> None:
        """The connection is new to the gateway, so it has heard nothing of what was said."""
        if self._greeting and now - self._opened < GREETING_S:  # else the Hello was lost, as the line broke once more
            return
        self._greeting, self._opened = True, now
        self.outgoing.clear()
        self.outgoing.extend((self._hello, *self._receipts, *self._unanswered.values()))
        for transfer in self._transfers.values():
            self.outgoing.extend(encode(message) for message in transfer.ask_again())

    def _forget(self, job_id: str) -> None:
        self._targets.pop(job_id, None)
        transfer = self._transfers.pop(job_id, None)
        if transfer:
            transfer.abandon()

    def _mismatch(self, versions: tuple[int, int], message: str) -> str:
        older = "the backend" if versions[1] < VERSION else "this add-on or program"
        spoken = " to ".join(str(v) for v in sorted(set(versions)))
        said = f" It says: {message}" if message else ""
        return (
            f"The backend at {self._endpoint} speaks protocol version {spoken}, but version {VERSION} is spoken here: "
            f"update {older}.{said}"
        )
