"""The pictures that have not come: sent, followed, and what becomes of them when their backend goes. Main thread only."""

from collections.abc import Callable
from contextlib import suppress

from ..protocol import Accepted, Cancelled, Failed, Finished, Paused, Previewed, Progressed, Refused, Started
from ..protocol.client import Frames, Saved, Spoilt
from ..protocol.record import inflate
from . import preview
from .images import format_of
from .job import Job
from .link import Link
from .pending_pictures import Promise, forget, miss, pending, remember
from .send_queue import SendQueue

End = Callable[[Job, str, bool], None]  # a job that is over, why there is no picture, and whether its file is written


class UnfinishedJobs:
    """jobs: by id, in their order. Of some only the promise is kept, beyond Blender's end: those are followed again.

    end: called with each that is over, as soon as it is none of the `jobs`.
    """

    def __init__(self, link: Link, end: End) -> None:
        self.jobs: dict[str, Job] = {}
        self.queue = SendQueue()
        self._link = link
        self._ended = end

    def part(self) -> None:
        """The backend is left: those that it does not have wait for the next one; the others are promised."""
        self.jobs = {job.id: job for job in self.jobs.values() if job.to_send_again}
        for job in self.jobs.values():
            job.wait()

    def lose(self) -> None:
        """The backend fell silent, and is tried again."""
        for job in self.jobs.values():
            if job.to_send_again:
                job.doubtful |= job.sent
                job.wait()
            else:
                job.lose_sight()

    def cancel(self, job: Job) -> None:
        """Ask for its end; it is over once it is none of the `jobs`."""
        if job.sent:
            job.cancelling, job.status = True, "Cancelling"
            if self._link.state == "ready":
                self._link.ask(lambda client: client.cancel(job.id))
            else:  # of a backend that is lost
                job.lose_sight()
                forget(job.id)  # whether or not it is found again
        elif job.doubtful and self._link.alive:
            job.sent = job.cancelling = True
            job.lose_sight()
            forget(job.id)
            if self._link.state == "ready":
                self._follow(job)
        else:
            del self.jobs[job.id]
            forget(job.id)  # it may have been sent before

    def submit(self, most: int) -> None:
        """Send what the backend takes now; the others wait here. most: as many of ours as it lets wait."""
        for job in self.queue.choose(self.jobs.values(), most):
            request = job.request
            assert request is not None  # only a job that was sent by an earlier Blender has none
            self.promise(job)
            arrays = tuple(inflate(request, job.arrays).values())
            self._link.ask(
                lambda client, job=job, request=request, arrays=arrays: client.submit(
                    job.id, request, job.path, job.models, arrays, picture_format=format_of(job.path)
                )
            )
            job.sent, job.status = True, "Sent"

    def take(self, event: object, payload: Frames) -> bool:
        """What the backend says of one job; True where the panel shows something else now."""
        job_id = getattr(event, "job_id", "")
        job = self.jobs.get(job_id)
        if isinstance(event, Saved | Failed | Cancelled) or (isinstance(event, Spoilt) and not event.kept):
            forget(job_id)
        if job is None:
            return False  # it was given up
        match event:
            case Refused():
                self._take_refusal(job, event)
            case Failed() | Spoilt():
                self._end(job, event.message)
            case Cancelled():
                self._end(job)
            case Accepted() | Started() | Paused() | Progressed() | Finished():
                if isinstance(event, Accepted):
                    self.queue.crowded = ""
                job.note(event, lasting=self._link.lasting)
            case Saved():
                job.path = event.path
                preview.keep(job.path, job.preview)
                self._end(job, saved=True)
            case Previewed() if payload:
                job.preview = bytes(payload[0])
                preview.show(job.preview, job.blend)
        return True

    def _take_refusal(self, job: Job, refused: Refused) -> None:
        if refused.later and job.cancelling and job.accepted:  # the backend's disk is full: the client asks again
            job.status = refused.message
            return
        if job.request or job.cancelling:
            forget(job.id)  # else it may only mean that this is another backend than that which has it
        if job.request is None:
            with suppress(OSError):
                miss(job.id)
            if job.lost:
                self._end(job, "" if job.cancelling else refused.message)
            else:
                del self.jobs[job.id]
        elif not refused.later or job.accepted:
            self._end(job, refused.message)
        elif job.to_send_again:
            job.wait()
            job.doubtful = False
            job.status = refused.message
            self.queue.refuse(refused.message)
        else:  # it was to be cancelled
            self._end(job)

    def _end(self, job: Job, error: str = "", *, saved: bool = False) -> None:
        self.jobs.pop(job.id, None)
        self.queue.end()
        self._ended(job, error, saved)

    def follow_lost(self) -> None:
        """Hear again of the pictures that were under way when this backend fell silent."""
        for job in [one for one in self.jobs.values() if one.sent]:
            self._follow(job)

    def follow_pending(self) -> None:
        """Find again the pictures that were under way when an earlier Blender or backend ended."""
        for job_id, promise in pending().items():
            if job_id in self.jobs:
                continue  # it is to be sent again
            job = Job(job_id, promise.path, blend=promise.blend, sent=True, status="Looking for an earlier picture")
            self.jobs[job_id] = job
            self.promise(job)
            self._follow(job)

    def promise(self, job: Job, *, here: bool = False) -> None:
        """Remember where the picture belongs; here: its file is written."""
        if not here and not self._link.lasting:
            return  # nobody could bring it later
        with suppress(OSError, UnicodeError):  # no room on the disk, or no UTF-8: it still comes to this Blender
            remember(job.id, Promise(picture=str(job.path), blend=job.blend, here=here))

    def rename_blend(self, old: str, new: str) -> None:
        """The file that is open was `old` and is `new` from now on: its pictures go along."""
        for job in [one for one in self.jobs.values() if one.blend == old]:
            job.blend = new
            if job.sent and not job.cancelling:
                self.promise(job)

    def _follow(self, job: Job) -> None:
        """Hear what becomes of it, and have it ended where it is to be cancelled."""
        self._link.ask(lambda client: client.follow(job.id, job.path))
        if job.cancelling:
            self._link.ask(lambda client: client.cancel(job.id))
