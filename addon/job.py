"""One picture on its way, and how its progress is put into words."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..protocol import STAGES, Accepted, Finished, Paused, Progressed, RenderRequest, Started, is_seen

WAITING = "Waiting for the backend"
FRAMES_NAMED = 3  # of those that a remark is of
REMARKS_SHOWN = 3  # of an animation


@dataclass
class Job:
    """Holds no Blender data, which an undo or another file would take away.

    request: None for a job of an earlier Blender, of which only the place of its picture is known.
    arrays: the masks that the request names, by digest, deflated: the frames of an animation may wait here for hours.
    blend: path of the file that it was asked for from; empty where that was never saved.
    sent, accepted, running: it waits here where none is true; they become true in this order, as the backend is asked for it,
        says that it has it, and draws it, and false again where it is to be sent to another one.
    kept: the backend has it also after its own end. cancelling: its end was asked for, and not heard of yet.
    lost: that backend fell silent meanwhile, so that nobody knows whether it has it still; its request is None by then.
    doubtful: it was sent to a backend that fell silent before it said whether it has it.
    """

    id: str
    path: Path
    request: RenderRequest | None = None
    arrays: dict[str, bytes] = field(default_factory=dict)
    models: str = ""
    blend: str = ""
    sent: bool = False
    accepted: bool = False
    kept: bool = False
    lost: bool = False
    doubtful: bool = False
    cancelling: bool = False
    running: bool = False
    status: str = WAITING
    fraction: float = 0.0
    remaining_s: float | None = None
    preview: bytes = b""  # JPEG, the newest
    remarks: tuple[str, ...] = ()  # what of it is not as it was asked for, a sentence each

    @property
    def to_send_again(self) -> bool:
        """Whether it must be sent again where the backend ends, though one should have it."""
        return self.request is not None and not self.kept and not self.cancelling

    def wait(self) -> None:
        """For another backend."""
        self.sent = self.accepted = self.running = False
        self.status, self.fraction, self.remaining_s, self.preview = WAITING, 0.0, None, b""

    def lose_sight(self) -> None:
        """The backend that has it cannot be reached: it is followed again, as one of an earlier Blender is."""
        self.request, self.arrays, self.running, self.lost = None, {}, False, True
        self.status = "Cancelled once the backend answers again" if self.cancelling else "Looking for the backend that has it"

    def note(self, event: Accepted | Started | Paused | Progressed | Finished, *, lasting: bool) -> None:
        """What the backend says of it while it is on its way. lasting: what that accepts it has also after its own end."""
        self.accepted = True
        if lasting:
            self.kept, self.arrays = True, {}  # from now on they are the backend's
        match event:
            case Accepted(position=0):
                self.status = "Waiting for the backend's device"
            case Accepted(position=before):
                self.status = f"Waiting for {counted(before, 'other picture', 'other pictures')}"
            case Started():
                self.running, self.status = True, f"Started on {event.device.name}"
            case Paused():
                self.status = "Waiting for room on the backend's disk"
            case Progressed() if not self.cancelling:
                self.running = True
                self.status, self.fraction, self.remaining_s = describe(event), event.fraction, event.remaining_s
            case Finished():
                self.status, self.fraction, self.remaining_s = "Bringing the picture here", 1.0, None
                self.remarks = tuple(dict.fromkeys((*self.remarks, *event.remarks)))  # it may be heard twice


def remark_on_hidden(request: RenderRequest, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """A sentence for each of `request` of whom nothing is seen."""
    words = "is left out of the picture, for others or the set hide all of this person: move somebody, or the camera."
    return tuple(f"'{one.name}' {words}" for one in request.characters if not is_seen(one, arrays))


def describe_remarks(remarks: dict[int, tuple[str, ...]]) -> tuple[str, ...]:
    """Those on the frames of an animation, by the numbers of these in their order: few enough for a panel."""
    lines = []
    for remark in dict.fromkeys(one for some in remarks.values() for one in some):
        numbers = [number for number, some in remarks.items() if remark in some]
        more = len(numbers) - FRAMES_NAMED
        where = ", ".join(map(str, numbers[:FRAMES_NAMED])) + (f" and {more} more" if more > 0 else "")
        lines.append(f"Frame{'s' * (len(numbers) > 1)} {where}: {remark}")
    rest = len(lines) - REMARKS_SHOWN
    return (*lines[:REMARKS_SHOWN], *([f"And {counted(rest, 'other remark', 'other remarks')}"] if rest > 0 else []))


def describe(progress: Progressed) -> str:
    """One line for the artist: stage, level and step."""
    line = STAGES[progress.stage].capitalize()
    if progress.levels and progress.level:
        line += f", level {progress.level}/{progress.levels}"
    if progress.steps:
        line += f", step {progress.step}/{progress.steps}"
    return line


def describe_remaining(seconds: float | None) -> str:
    return "" if seconds is None else f"{describe_seconds(seconds)} left"


def describe_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def describe_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e10 else f"{count / 1e9:.0f} GB"
