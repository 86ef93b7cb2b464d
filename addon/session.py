"""What the add-on knows between two redraws: the backend it talks to and the job under way. Main thread only."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import bpy
import numpy as np

from ..protocol import (
    Accepted,
    Cancelled,
    ConnectionFile,
    Failed,
    Finished,
    Paused,
    Previewed,
    Progressed,
    Refused,
    RenderRequest,
    Started,
    Welcome,
    read_connection,
)
from ..protocol.client import Frames, Lost, Saved, Spoilt, new_job_id
from . import images
from .backend_process import BackendError, BackendProcess
from .connection import Connection
from .pending import forget, pending, remember
from .preferences import Preferences

TICK_S = 0.1  # between two looks at the queue, and the longest that one look may take

Backend = Literal["off", "starting", "connecting", "ready"]

STAGES = {
    "load": "Loading the models",
    "instances": "Drawing each person",
    "composite": "Placing the people",
    "inpaint": "Painting the background",
    "tone": "Evening out the tone",
    "enlarge": "Enlarging",
    "decode": "Decoding",
    "write": "Writing the file",
}


@dataclass
class Job:
    """One picture on its way. Holds no Blender data, which an undo or another file would take away."""

    id: str
    request: RenderRequest
    arrays: dict[str, np.ndarray]
    models: str
    path: Path
    sent: bool = False
    cancelling: bool = False
    status: str = "Waiting for the backend"
    fraction: float = 0.0
    remaining_s: float | None = None


class Session:
    """One backend and at most one job."""

    def __init__(self) -> None:
        self.backend: Backend = "off"
        self.welcome: Welcome | None = None
        self.job: Job | None = None
        self.error = ""  # of the last job or start; one sentence with its next step
        self.picture = ""  # name of the last Image datablock
        self._process: BackendProcess | None = None
        self._connection: Connection | None = None

    def start(self, preferences: Preferences) -> None:
        """Connect to the backend of the connection file, or start one; the rest happens in `tick`."""
        if self.backend != "off":
            return
        self.error = ""
        try:
            if preferences.connection_file:
                self._connect(Path(preferences.connection_file))
            elif preferences.python:
                self._process = BackendProcess(preferences.python, preferences.models_folder)
                self.backend = "starting"
            else:
                raise BackendError(
                    "No Python for the backend is chosen, and Blender's own has no PyTorch: name the one in which "
                    "`pip install beyondscene` was run in Preferences > Add-ons > BeyondScene."
                )
        except BackendError as error:
            self._fail(str(error))

    def stop(self) -> None:
        """Part from the backend; a process of our own has ended when this returns."""
        if self._connection:
            self._connection.close()
        if self._process:
            self._process.stop()
        self._connection = self._process = self.welcome = None
        self.backend = "off"
        if self.job:
            self._end()

    def render(
        self, request: RenderRequest, arrays: dict[str, np.ndarray], models: str, path: Path, preferences: Preferences
    ) -> None:
        """Have `request` made into a picture at `path`. Returns at once; there must be no other job.

        arrays: the masks that the request names, by digest.
        """
        assert self.job is None
        self.error = ""
        self.job = Job(new_job_id(), request, arrays, models, path)
        self.start(preferences)
        self._submit()

    def cancel(self) -> None:
        """Ask for the end of the job; it is over once `job` is None."""
        if self.job is None:
            return
        self.job.cancelling, self.job.status = True, "Cancelling"
        if self._connection and self.job.sent:
            job_id = self.job.id
            self._connection.ask(lambda client: client.cancel(job_id))
        else:
            self.job = None

    def tick(self, budget_s: float = TICK_S) -> bool:
        """Take in what has happened, for `budget_s` at most; True if anything has."""
        deadline = time.monotonic() + budget_s
        changed = False
        try:
            changed = self._watch_process()
        except BackendError as error:
            self._fail(str(error))
            return True
        while self._connection and time.monotonic() < deadline:
            heard = self._connection.heard(limit=1)
            if not heard:
                break
            self._take(*heard[0])
            changed = True
        return changed

    @property
    def alive(self) -> bool:
        """Whether there is anything to wait for."""
        return self.backend != "off"

    def _watch_process(self) -> bool:
        if self._process is None:
            return False
        if self._connection is None:
            connection = self._process.poll()
            if connection is None:
                return False
            self._open(connection)
            return True
        if self._process.ended:
            raise BackendError(
                f"The backend ended unexpectedly, saying '{self._process.last_words()}': see its log, "
                f"{self._process.log}, then render again."
            )
        return False

    def _connect(self, path: Path) -> None:
        try:
            self._open(read_connection(path))
        except (OSError, ValueError) as error:
            raise BackendError(
                f"No backend can be found through the connection file '{path}' ({error}): start the backend that writes it, "
                "or clear it in Preferences > Add-ons > BeyondScene."
            ) from error

    def _open(self, backend: ConnectionFile) -> None:
        self._connection = Connection(backend, f"blender {bpy.app.version_string}")
        self.backend = "connecting"

    def _submit(self) -> None:
        job = self.job
        if job is None or job.sent or self.backend != "ready" or self._connection is None:
            return
        job_id, request, path, models, arrays = job.id, job.request, job.path, job.models, tuple(job.arrays.values())
        remember(job_id, path)
        self._connection.ask(lambda client: client.submit(job_id, request, path, models, arrays))
        job.sent, job.status = True, "Sent"

    def _follow_pending(self) -> None:
        """Have the pictures brought here that were under way when an earlier Blender or backend ended."""
        assert self._connection
        for job_id, path in pending().items():
            self._connection.ask(lambda client, job_id=job_id, path=path: client.follow(job_id, path))

    def _take(self, event: object, payload: Frames) -> None:
        job = self.job
        if isinstance(event, Saved | Spoilt | Failed | Cancelled):
            forget(event.job_id)
        elif isinstance(event, Refused) and job and event.job_id == job.id:
            forget(job.id)  # of an older job it may only mean that this is another backend
        match event:
            case Welcome():
                self.welcome, self.backend = event, "ready"
                self._follow_pending()
                self._submit()
            case Lost():
                self._fail(event.message)
            case Refused(job_id=None):
                self.error = event.message
            case Saved() if job is None or event.job_id != job.id:  # of an earlier Blender
                self._load(event.path)
            case _ if job is None or getattr(event, "job_id", None) != job.id:
                pass  # of a job that was given up
            case Refused() | Failed() | Spoilt():
                self._end(event.message)
            case Cancelled():
                self._end()
            case Accepted() if event.position:
                job.status = f"Waiting for {event.position} other job{'s' * (event.position > 1)}"
            case Started():
                job.status = f"Started on {event.device.name}"
            case Paused():
                job.status = "Waiting for room on the backend's disk"
            case Progressed() if not job.cancelling:
                job.status, job.fraction, job.remaining_s = describe(event), event.fraction, event.remaining_s
            case Finished():
                job.status, job.fraction, job.remaining_s = "Bringing the picture here", 1.0, None
            case Saved():
                self._end(self._load(event.path))
            case Previewed() if payload:
                images.show_preview(bytes(payload[0]))

    def _load(self, path: Path) -> str:
        """Make the file an Image datablock; return what the artist must be told, if anything."""
        try:
            self.picture = images.load_picture(path).name
        except RuntimeError as error:
            return f"The picture is at {path}, but Blender cannot load it ({error}): open it by hand."
        return ""

    def _end(self, error: str = "") -> None:
        self.job, self.error = None, error
        images.remove_preview()

    def _fail(self, message: str) -> None:
        self.stop()
        self.error = message


def describe(progress: Progressed) -> str:
    """One line for the artist: stage, person, level and step."""
    line = STAGES[progress.stage]
    if progress.label:
        line += f", {progress.label}"
    if progress.levels and progress.level:
        line += f", level {progress.level}/{progress.levels}"
    if progress.steps:
        line += f", step {progress.step}/{progress.steps}"
    return line


def describe_remaining(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


_session: Session | None = None


def current() -> Session:
    """The session of this Blender; there is one between register and unregister."""
    assert _session is not None, "the add-on is not registered"
    return _session


def wake() -> None:
    """See that the queue is drained for as long as there is a backend to hear from."""
    if not bpy.app.timers.is_registered(drain):
        bpy.app.timers.register(drain, first_interval=TICK_S, persistent=True)


def drain() -> float | None:
    """The timer's body: take in what happened, redraw the panel, say when to come again."""
    if _session is None:
        return None
    if _session.tick():
        for area in images.open_areas("VIEW_3D"):
            area.tag_redraw()
    return TICK_S if _session.alive else None


def register() -> None:
    global _session
    _session = Session()


def unregister() -> None:
    global _session
    if bpy.app.timers.is_registered(drain):
        bpy.app.timers.unregister(drain)
    if _session:
        _session.stop()
    _session = None
