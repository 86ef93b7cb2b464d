"""What the add-on knows between two redraws: the backend it talks to and the pictures on their way. Main thread only."""

import time
from collections.abc import Sequence
from pathlib import Path

from ..protocol import (
    DeviceInfo,
    Estimated,
    ModelSetInfo,
    Pong,
    Refused,
    Started,
    Welcome,
)
from ..protocol.client import Frames, Lost
from . import editors, images, presence, preview
from .backend_process import BackendError
from .devices import devices_in, rounded
from .estimates import Estimates
from .images import PictureRef
from .job import Job, describe_remarks
from .link import Link
from .pending_pictures import pending, promises
from .preferences import Preferences
from .problem import Problem
from .unfinished_jobs import UnfinishedJobs

TICK_S = 0.1  # between two looks at the queue, and the longest that one look may take


class Session:
    """The pictures that were asked of one backend, in their order, and what it said."""

    def __init__(self) -> None:
        self.link = Link()
        self.welcome: Welcome | None = None
        self.devices: tuple[DeviceInfo, ...] = ()  # as last heard, with what is free of their memory
        self.queued = 0  # jobs that wait at the backend, of all its clients
        self.unfinished = UnfinishedJobs(self.link, self._end)
        self.problem: Problem | None = None  # of the last job or start
        self.notice = ""  # the outcome of a test of the connection
        self.picture = PictureRef()  # the one that was made or chosen last
        self.missed: Job | None = None  # the last one that came while its file was not open
        self.estimates = Estimates(self.link)
        self.left_over = len(pending())  # pictures of an earlier Blender or backend that have not come yet
        self._tested_s: float | None = None
        self._remarks: dict[Path, tuple[str, ...]] = {}  # on the frames of animations, by file

    @property
    def error(self) -> str:
        """One sentence with its next step; empty where nothing went wrong."""
        return self.problem.text if self.problem else ""

    @property
    def jobs(self) -> dict[str, Job]:
        """The pictures that were asked for and have not come, in their order."""
        return self.unfinished.jobs

    @property
    def job(self) -> Job | None:
        """The picture that is being made, or else the next one."""
        return next((job for job in self.jobs.values() if job.running), next(iter(self.jobs.values()), None))

    @property
    def promised(self) -> list[Path]:
        """The files of pictures that have not come yet, those of other Blenders included."""
        return [*(job.path for job in self.jobs.values()), *(one.path for one in promises().values())]

    @property
    def on_their_way(self) -> list[Path]:
        """Those of them that some Blender waits for: of the others no backend is known that has them."""
        waited_for = [one.path for one in promises().values() if one.blender is not None]
        return [*(job.path for job in self.jobs.values()), *waited_for]

    @property
    def hindrance(self) -> str:
        """Why none of the `jobs` goes on for now, though nothing has failed: the backend is lost, or takes none."""
        return self.link.lost or ("" if any(job.accepted for job in self.jobs.values()) else self.unfinished.queue.crowded)

    def start(self, preferences: Preferences) -> None:
        """Connect to the backend of the key file, or start one; the rest happens in `tick`."""
        if self.link.alive:
            return
        self.clear()
        try:
            self.link.start(preferences)
        except BackendError as error:
            self.fail(str(error))

    def stop(self) -> None:
        """Part from the backend; a process of our own has ended when this returns. Its log stays while there is an error.

        Of the `jobs` those that it does not have wait for the next one; the others are promised.
        """
        self.link.stop(keep_log=bool(self.error))
        self._forget_backend()
        if self.jobs:
            self.unfinished.part()
            preview.leave()
        presence.leave()
        self.left_over = len(pending().keys() - self.jobs)

    def test(self, preferences: Preferences) -> None:
        """See whether the backend answers and which models it has now, and say so in `notice`; `error` says why it does not."""
        self.clear()
        self._tested_s = time.monotonic()
        if self.link.state == "lost":
            self.link.hurry()
        self.start(preferences)
        if self.link.state == "ready":
            self.link.ask(lambda client: client.greet())

    def render(self, jobs: Sequence[Job], preferences: Preferences) -> None:
        """Have the requests of `jobs` made into pictures. Returns at once; where no backend can be had, `error` says why."""
        if not self.jobs:
            self.clear()
        self.missed = None
        self.start(preferences)
        if self.link.alive:
            self.jobs.update({job.id: job for job in jobs})
            self._submit()

    def cancel(self, job_id: str = "") -> None:
        """Ask for the end of one picture, or of all that are on their way; it is over once it is none of the `jobs`."""
        for job in [one for one in self.jobs.values() if job_id in ("", one.id)]:
            self.unfinished.cancel(job)

    def refuse(self, message: str) -> None:
        """The scene cannot be rendered as it is, which holds while its file is open."""
        self.problem = Problem("scene", message)

    def note_fault(self, doing: str, error: Exception) -> None:
        """Something of ours failed that should not; call it where `error` is handled. doing: begins the sentence."""
        fault = Problem.fault(doing, error)
        if fault.text != self.error:  # a timer may meet it again and again
            fault.print_trace()
        self.problem = fault

    def clear(self) -> None:
        """Say no longer what went wrong, or what came of a test."""
        self.problem, self.notice = None, ""

    def leave_file(self) -> None:
        """Another file is open now."""
        if self.problem and self.problem.kind == "scene":
            self.problem = None

    def rename_blend(self, old: str, new: str) -> None:
        """The file that is open was `old` and is `new` from now on: its pictures go along."""
        self.unfinished.rename_blend(old, new)

    def model_info(self, name: str) -> ModelSetInfo | None:
        """What the backend says about a model set; None while there is no backend, or where it has no such set."""
        return next((one for one in self.welcome.models if one.name == name), None) if self.welcome else None

    def tick(self, budget_s: float = TICK_S) -> bool:
        """Take in what has happened, for `budget_s` at most; True if anything has that the panel shows."""
        deadline = time.monotonic() + budget_s
        try:
            changed = self.link.watch()
        except BackendError as error:
            self.fail(str(error))
            return True
        while time.monotonic() < deadline and (heard := self.link.hear()):
            changed = self._take(*heard) or changed
        self._submit()  # what waited here for an earlier one to end
        return changed

    def _submit(self) -> None:
        if self.link.state == "ready" and self.welcome is not None:
            self.unfinished.submit(self.welcome.waiting_jobs)

    def _lose(self, lost: Lost) -> None:
        """Try one elsewhere that fell silent again while something is still to come of it; part from any other."""
        if self.link.local or not lost.passing or not (self.welcome or self.link.lost):
            self.fail(lost.message)
        elif self.jobs or self._recording():
            self.link.lose(f"The backend at {self.link.endpoint} fell silent." if self.welcome else lost.message)
            self._forget_backend()
            self.unfinished.lose()
            preview.leave()
        else:
            self.fail(
                f"The connection to the backend at {self.link.endpoint} is lost: press Start to connect again; pictures go on "
                "there."
                if self.welcome
                else lost.message
            )

    def _recording(self) -> bool:
        from . import animation  # which asks for its frames here

        return animation.recording() is not None

    def _forget_backend(self) -> None:
        """What one says of itself holds no longer."""
        self.welcome, self.queued, self.devices, self.notice = None, 0, (), ""
        self._tested_s = None
        self.unfinished.queue.reset()
        self.estimates.known.clear()

    def _take(self, event: object, payload: Frames) -> bool:
        """True where the panel shows something else now."""
        match event:
            case Welcome():
                self._take_welcome(event)
            case Pong():
                return self._take_pong(event)
            case Estimated():
                return self.estimates.take(event)
            case Lost():
                self._lose(event)
            case Refused(job_id=None):
                self.problem = Problem("picture", event.message)
            case _:
                if isinstance(event, Started):
                    self.devices = self.devices or (event.device,)
                return self.unfinished.take(event, payload)
        return True

    def _take_welcome(self, welcome: Welcome) -> None:
        new = self.link.state != "ready"
        self.welcome, self.link.state, self.link.lost, self.devices = welcome, "ready", "", devices_in(welcome)
        self.estimates.known.clear()  # its models may be others
        if new:
            self.unfinished.follow_lost()
        if self.link.lasting:  # else it is new, and knows of none
            self.unfinished.follow_pending()
            self.left_over = 0
        self._submit()
        if self._tested_s is not None:
            seconds, self._tested_s = time.monotonic() - self._tested_s, None
            self.notice = f"beyondscene {welcome.app_version} at {self.link.endpoint} answered after {seconds:.1f} s"

    def _take_pong(self, pong: Pong) -> bool:
        before = self.queued, rounded(self.devices)
        self.devices, self.queued = devices_in(pong), pong.queued
        return before != (self.queued, rounded(self.devices))

    def _load(self, job: Job) -> str:
        """Make the file an Image datablock, of frames one when none is to come; return why that was not possible."""
        if images.sequence_of(job.path):
            frames = images.frames_beside(job.path)
            if not frames or any(one.path.parent == job.path.parent for one in self.jobs.values()):
                return ""
            job.path = frames[0]
            job.remarks = describe_remarks({int(one.stem): self._remarks.get(one, ()) for one in frames})
        if not images.is_open(job.blend):
            self.unfinished.promise(job, here=True)
            self.missed = job
            return ""
        try:
            self.picture = PictureRef.of(editors.load_picture(job.path), job.remarks)
        except RuntimeError as error:
            return f"The picture is at {job.path}, but Blender cannot load it ({error}): open it by hand."
        return ""

    def _end(self, job: Job, error: str, saved: bool) -> None:
        if error and (sequence := images.sequence_of(job.path)):
            error = f"{sequence}, frame {int(job.path.stem)}: {error}"
        if saved and images.sequence_of(job.path):
            self._remarks[job.path] = job.remarks
        unloaded = self._load(job) if saved or images.sequence_of(job.path) else ""
        if error or unloaded:
            self.problem = Problem("picture", error or unloaded)
        if not any(one.running for one in self.jobs.values()):
            preview.leave()
        if not self.jobs:
            self.estimates.known.clear()  # how long it took is known better now

    def fail(self, message: str) -> None:
        """Part from the backend: what it had taken comes to whoever finds it again."""
        self.problem = Problem("backend", message)
        self.stop()


_session: Session | None = None


def current() -> Session:
    """The session of this Blender; there is one between register and unregister."""
    assert _session is not None, "the add-on is not registered"
    return _session


def part() -> None:
    """Part from the backend, and touch no data of Blender's."""
    if _session is not None:
        _session.link.stop(keep_log=bool(_session.error))
        presence.leave()


def register() -> None:
    global _session
    _session = Session()


def unregister() -> None:
    global _session
    if _session:
        _session.stop()
    _session = None
