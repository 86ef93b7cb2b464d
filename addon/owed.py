"""What becomes of pictures that have not come when their backend goes, and when one comes back. Main thread only."""

from contextlib import suppress

from .job import Job
from .link import Link
from .pending import Promise, forget, pending, remember


class Owed:
    """jobs: by id, in their order. Of some only the promise is kept, beyond Blender's end: those are followed again."""

    def __init__(self, link: Link) -> None:
        self.jobs: dict[str, Job] = {}
        self._link = link

    def part(self) -> None:
        """The backend is left: those that it does not have wait for the next one; the others are promised."""
        self.jobs = {job.id: job for job in self.jobs.values() if job.owed}
        for job in self.jobs.values():
            job.wait()

    def lose(self) -> None:
        """The backend fell silent, and is tried again."""
        for job in self.jobs.values():
            if job.owed:
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
        with suppress(OSError):  # no room on the disk: it still comes to this Blender
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
