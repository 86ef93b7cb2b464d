"""Jobs and the workers that do them: which is next, what they report, and what is done where one or the disk gives out.

Every step leaves the ledger right wherever it breaks off, so a step that finds the disk full, or no more files to be opened, is
simply taken again later.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from ...protocol import (
    DeviceInfo,
    DiskFull,
    Heartbeat,
    JobCheckpoint,
    JobDone,
    JobFailed,
    JobPreview,
    JobProgress,
    JobStopped,
    Ready,
    Report,
    RunJob,
)
from .admission import Admission
from .counts import Counts
from .files import JobFiles, Quota, picture_in
from .jobs import Jobs
from .ledger import Job
from .live import Live
from .logs import about
from .room import free_bytes, needed_bytes, shortage
from .settings import ServeError, ServeSettings
from .supervisor import Supervisor
from .workers import Workers

log = logging.getLogger(__name__)

FAILED_STARTS = 3  # after which waiting jobs are told that no worker comes up
LATER_STARTS = 30  # the same of a device that has worked: its memory is with another program, and a quarter of an hour may help
LOOK_FOR_ROOM_S = 1.0

OfTheLedger = JobCheckpoint | JobDone | JobFailed | DiskFull | JobStopped  # reports that change it


class Dispatch:
    """One queue, and whichever worker is free. Times are seconds of a monotonic clock."""

    def __init__(
        self,
        settings: ServeSettings,
        admission: Admission,
        jobs: Jobs,
        live: Live,
        files: JobFiles,
        quota: Quota,
        workers: Workers,
        counts: Counts,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._jobs = jobs
        self._live = live
        self._files = files
        self._quota = quota
        self._workers = workers
        self._counts = counts
        self._starved: set[str] = set()  # jobs that have come to want of memory on a CPU, where no error tells of it
        self._reports: deque[OfTheLedger] = deque()  # that are still to be taken
        self._resumed = False
        self._again_s = 0.0  # no step is taken before, as the last one met a shortage
        self._look_s = 0.0  # when next to look whether paused jobs have room

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """Of the workers that are ready, or rest."""
        return self._workers.devices

    def turn(self, now_s: float) -> None:
        """Take what the workers have reported, look after them, and give them the next jobs. Raises ServeError where no worker
        can work as it is asked to."""
        for heard in self._workers.receive(now_s):
            self._hear(*heard, now_s)
        if now_s < self._again_s:
            return
        try:
            if not self._resumed:
                self._resume()
            while self._reports:
                self._take(self._reports[0])
                self._reports.popleft()
            for worker in self._workers:
                wanted = len(self._jobs.waiting()) > sum(worker.expected for worker in self._workers)
                self._look_after(worker, now_s, wanted)
            self._look_for_room(now_s)
            self._start_next()
            self._again_s = 0.0
        except (OSError, sqlite3.Error) as error:
            if not (words := shortage(error, self._settings.data_folder)):
                raise
            if not self._again_s:  # once, however long it lasts
                log.error("%s (%s): nothing goes on until that has passed; no job is lost", words, error)
            self._again_s = now_s + LOOK_FOR_ROOM_S

    def halt(self, job: Job, now_s: float) -> None:
        """Have a running job stopped, by force if need be."""
        log.info("job %s: halting attempt %d", job.id, job.attempt, extra=about(job))
        if worker := self._workers.with_job(job.id):
            worker.halt(job.attempt, now_s)

    def tidy(self, job: Job) -> None:
        """The job has ended: nothing of it stays but its result."""
        self._live.forget(job.id)
        self._files.tidy(job.id, finished=job.state == "finished")
        self._starved.discard(job.id)
        self._counts.ended[job.state] += 1

    def _resume(self) -> None:
        """Go on where the last gateway on this data folder ended, however that came about."""
        for job in self._jobs.running():
            with suppress(OSError):  # mostly none is there; nobody would know of one whose job is cancelled now
                self._files.path(job.id).unlink()
        for job in self._jobs.resume():
            log.info("job %s: attempt %d ended with its gateway; it is %s", job.id, job.attempt, job.state, extra=about(job))
        self._files.sweep({job.id for job in self._jobs.ledger.live()})
        self._make_room()
        self._resumed = True

    def _hear(self, report: Report, payload: Sequence[memoryview | bytes], now_s: float) -> None:
        """Show how far a job is; what the ledger has to know waits until it takes it."""
        if isinstance(report, Ready | Heartbeat) or (job := self._current(report)) is None:
            return
        match report:
            case JobProgress():
                self._live.advance(report, job.next_seq - 1, now_s)
            case JobPreview():
                if payload:
                    self._live.sketch(report, payload[0], job.next_seq - 1)
            case JobCheckpoint():
                if self._live.keep(report):  # two devices may alternate at what kills both
                    self._reports.append(report)
            case _:
                self._reports.append(report)

    def _take(self, report: OfTheLedger) -> None:
        job = self._current(report)
        if job is None:
            return
        if isinstance(report, JobCheckpoint):
            self._jobs.get_further(job)
        elif job.stopping:  # whatever else has happened to it meanwhile
            self._end(self._jobs.cancel(job))
        elif isinstance(report, JobDone):
            self._publish(job, report)
        elif isinstance(report, JobFailed):
            self._end(self._jobs.fail(job, report.message))
        elif isinstance(report, DiskFull):
            self._run_short(job)
        else:  # stopped, though nobody asked it to: it is leaving
            self._end(self._jobs.lose(job, "The worker process gave the job back."))

    def _current(self, report: OfTheLedger | JobProgress | JobPreview) -> Job | None:
        """The job that is reported of, where the attempt is its present one."""
        job = self._jobs.current(report.job_id, report.attempt)
        if job is None:
            log.info("job %s: a word of attempt %d comes too late", report.job_id, report.attempt, extra=about(report))
        return job

    def _publish(self, job: Job, done: JobDone) -> None:
        assert job.submit is not None
        try:
            self._files.publish(done, job.submit.picture_format)
        except OSError as error:
            if shortage(error, self._settings.data_folder):
                raise
            self._end(self._jobs.fail(job, f"The picture could not be stored: {error}."))
        else:
            self._end(self._jobs.finish(job, done))
            self._make_room()

    def _end(self, job: Job) -> None:
        """An attempt is over; `job` is how it left the job."""
        log.info("job %s: %s after attempt %d", job.id, job.state, job.attempt, extra=about(job))
        self._release(job)
        if job.ended:
            self.tidy(job)

    def _run_short(self, job: Job) -> None:
        """An attempt found the disk full."""
        if not self._pause_if_short(job):
            # there is room by now; or it is a quota that we cannot see, which three attempts will tell
            self._end(self._jobs.lose(job, "There was no room on the backend's disk for what the job had to write."))

    def _pause_if_short(self, job: Job) -> bool:
        """Pause the job if there is too little room for it; whether that is so."""
        assert job.submit is not None
        needed = needed_bytes(job.submit) - self._files.held_bytes(job.id)
        free = self._free_bytes(needed)
        if free < needed:
            self._jobs.pause(job, needed, free)
            self._release(job)
            log.warning("job %s: paused, %d bytes are needed and %d free", job.id, needed, free, extra=about(job))
        return free < needed

    def _release(self, job: Job) -> None:
        """No worker is at this job any more."""
        if worker := self._workers.with_job(job.id):
            worker.release()

    def _free_bytes(self, needed: int) -> int:
        """Of the disk, once fetched pictures have made room where it has fewer than `needed`."""
        free = free_bytes(self._settings.data_folder)
        if free < needed:
            self._make_room(needed - free)
            free = free_bytes(self._settings.data_folder)
        return free

    def _make_room(self, short_bytes: int = 0) -> None:
        for job_id in self._quota.make_room(short_bytes):
            log.info("job %s: its picture made room for newer ones", job_id, extra={"job_id": job_id})

    def _look_after(self, worker: Supervisor, now_s: float, wanted: bool) -> None:
        worker.check(now_s, wanted)
        if not worker.lost:
            return
        job = self._jobs.ledger.job(worker.job_id) if worker.job_id else None
        if job is not None and job.state == "running":
            if worker.starved and worker.seen and worker.seen.kind == "cpu":
                self._starved.add(job.id)
            self._end(self._jobs.lose(job, worker.lost))
        if words := self._workers.refusal:  # no job would ever be done; those in the ledger are, once that is put right
            raise ServeError(words)
        if all(each.failed_starts >= (LATER_STARTS if each.seen else FAILED_STARTS) for each in self._workers):
            words = f"{worker.lost} It could not start {worker.failed_starts} times in a row: put that right, then start the "
            words += f"backend again. Its log is {worker.log_path}."
            for waiting in self._jobs.waiting():
                self._end(self._jobs.fail(waiting, words))
        self._counts.workers_lost[str(worker.number)] += 1
        worker.release()
        worker.lost = ""

    def _look_for_room(self, now_s: float) -> None:
        """Once a second: give room back to the disk, let paused jobs go on that have room again, and count how all stands."""
        if now_s < self._look_s:
            return
        self._look_s = now_s + LOOK_FOR_ROOM_S
        self._jobs.ledger.shrink()
        for job in self._jobs.paused():
            needed = self._jobs.needed_bytes(job)
            if self._free_bytes(needed) >= needed:
                self._jobs.go_on(job)
                log.info("job %s: there is room again", job.id, extra=about(job))
        counts, jobs = self._counts, self._jobs
        counts.waiting, counts.running, counts.paused = len(jobs.waiting()), len(jobs.running()), len(jobs.paused())
        counts.free_bytes = free_bytes(self._settings.data_folder)
        counts.ready = {str(worker.number): int(worker.ready) for worker in self._workers}
        for number in counts.ready:
            counts.workers_lost[number] += 0  # so that the first loss is seen as an increase

    def _start_next(self) -> None:
        while (worker := self._workers.idle()) and (waiting := self._jobs.waiting()):
            if not self._pause_if_short(waiting[0]):
                self._start(waiting[0], worker)

    def _start(self, job: Job, worker: Supervisor) -> None:
        submit = job.submit
        assert worker.device is not None and submit is not None
        folder = self._files.begin(job.id, job.attempt + 1)
        job = self._jobs.start(job, worker.device)
        work = RunJob(
            job_id=job.id,
            attempt=job.attempt,
            request=submit.request,
            models=submit.models,
            models_folder=self._admission.folder_of(submit.models),
            arrays=submit.arrays,
            result_path=str(picture_in(folder, submit.picture_format)),
            checkpoints_folder=str(folder),
            sparing=job.id in self._starved,
        )
        words = "job %s: attempt %d starts on worker %d, %s"
        log.info(words, job.id, job.attempt, worker.number, worker.device.name, extra=about(job) | worker.about)
        self._counts.attempts[str(worker.number)] += 1
        worker.work(work, *self._jobs.ledger.frames(job.id))
