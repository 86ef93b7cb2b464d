"""What the gateway does with each message, and its loop: one thread, no torch, nothing that blocks."""

import logging
import sqlite3
import uuid
from collections.abc import Sequence

import zmq

from ...protocol import (
    VERSION,
    Advanced,
    Broke,
    Cancel,
    Decoder,
    Done,
    Estimate,
    Estimated,
    Fetch,
    Finished,
    Halt,
    Halted,
    Hello,
    JobInfo,
    JobsListed,
    Kept,
    ListJobs,
    Ping,
    Pong,
    Progressed,
    Refused,
    Rejected,
    Report,
    Request,
    RequestError,
    Sketched,
    Submit,
    Subscribe,
    Welcome,
    WireError,
    Work,
)
from .admission import Admission
from .clients import Client, Clients
from .estimate import Estimator
from .files import JobFiles, Quota, picture_in
from .jobs import JobConflict, Jobs
from .ledger import Job, Ledger
from .live import Live
from .settings import FindModelSets, ServeSettings
from .sockets import Door, Incoming, receive
from .supervisor import Supervisor, now

log = logging.getLogger(__name__)

TURN_MS = 50  # the longest wait of the loop
FAILED_STARTS = 3  # after which waiting jobs are told that no worker comes up

decode_request = Decoder(Request)


class Gateway:
    """Clients on one side, a worker on the other, the jobs between them."""

    def __init__(
        self,
        settings: ServeSettings,
        app_version: str,
        find_model_sets: FindModelSets,
        ledger: Ledger,
        door: Door,
        socket: zmq.Socket[bytes],
        worker_socket: zmq.Socket[bytes],
        supervisor: Supervisor,
    ) -> None:
        self.boot_id = uuid.uuid4().hex
        self.malformed = 0  # messages from clients that were no messages
        self._settings = settings
        self._app_version = app_version
        self._door = door
        self._socket = socket
        self._worker_socket = worker_socket
        self._supervisor = supervisor
        self._files = JobFiles(settings.data_folder)
        self._quota = Quota(ledger, self._files, settings.results_limit_bytes)
        self._admission = Admission(settings, find_model_sets, self._quota)
        self._live = Live()
        self._jobs = Jobs(ledger)
        self._estimator = Estimator(ledger)
        self._clients = Clients(socket, ledger, self._live, self._files)
        self._halt_by_s: dict[str, float] = {}  # job id -> when the worker is killed for it
        self.busy_s = now()  # when last there was a job, or a word from a client
        self._resume()

    def _resume(self) -> None:
        """Go on where the last gateway on this data folder ended, however that came about."""
        for job in self._jobs.resume():
            log.info("job %s: attempt %d ended with its gateway; it is %s", job.id, job.attempt, job.state)
        self._files.sweep({job.id for job in self._jobs.ledger.live()})
        self._make_room()

    def turn(self) -> None:
        """One round of the loop."""
        # 1. Wait until somebody has something to say.
        sockets = (self._door.socket, self._socket, self._worker_socket)
        zmq.zmq_poll([(socket, zmq.POLLIN) for socket in sockets], TURN_MS)
        # 2. Who may come in, and what clients ask for.
        self._door.answer()
        for message in receive(self._socket):
            self._hear_client(message)
        # 3. What the worker reports.
        for report, payload in self._supervisor.receive(now()):
            self._take(report, payload)
        # 4. The worker process itself, and the next job for it.
        self._supervise()
        # 5. Tell the clients, each as fast as it reads.
        self._clients.deliver(now())

    # Clients.

    def _hear_client(self, message: Incoming) -> None:
        self.busy_s = now()
        client = self._clients.client(message, self.busy_s)
        try:
            if len(message.frames) > self._settings.message_limit_frames:
                raise WireError(f"it has {len(message.frames)} frames, the limit is {self._settings.message_limit_frames}")
            if sum(map(len, message.frames)) > self._settings.message_limit_bytes:
                raise WireError(f"it is longer than the limit of {self._settings.message_limit_bytes} bytes")
            request, payload = decode_request(message.frames)
        except WireError as error:
            self.malformed += 1
            client.reply(Refused(message=f"The message was not understood: {error}"[:4000]))
            return
        try:
            self._answer(client, request, payload)
        except (RequestError, WireError, JobConflict) as error:
            client.reply(Refused(job_id=getattr(request, "job_id", None), message=str(error)[:4000]))
        except sqlite3.Error as error:
            sentence = f"The backend's disk could not take it ({error}): make room there, then send it again."
            client.reply(Refused(job_id=getattr(request, "job_id", None), message=sentence))
        except Exception:  # a slip of ours: the other clients and their jobs must not pay for it
            log.exception("could not answer %s", type(request).__name__)
            client.reply(Refused(job_id=getattr(request, "job_id", None), message="The backend failed here: see its log."))

    def _answer(self, client: Client, request: Request, payload: Sequence[memoryview | bytes]) -> None:
        """Raises RequestError, WireError or JobConflict with the sentence of a refusal."""
        if not client.greeted and not isinstance(request, Hello):
            raise RequestError("This connection is new to the backend: say Hello first.")
        match request:
            case Hello():
                self._greet(client, request)
            case Submit():
                job = self._jobs.find(request)
                if job is None:
                    self._admission.check(request, payload, len(self._jobs.waiting()))
                    job = self._jobs.submit(request, payload)
                    log.info("job %s: accepted from '%s'", job.id, client.label)
                client.follow(job.id, 0)
            case Cancel():
                self._cancel(client, self._job(request.job_id))
            case Subscribe():
                client.follow(self._job(request.job_id).id, request.since_seq)
            case Fetch():
                self._fetch(client, request)
            case ListJobs():
                found = [self._job(request.job_id)] if request.job_id else self._jobs.ledger.newest(request.limit)
                client.reply(JobsListed(jobs=tuple(map(self._describe, found))))
            case Estimate():
                client.reply(self._estimate(request))
            case Ping():
                waiting, running = len(self._jobs.waiting()), len(self._jobs.running())
                client.reply(Pong(queued=waiting, running=running, device=self._supervisor.device))

    def _greet(self, client: Client, hello: Hello) -> None:
        lowest, highest = hello.versions
        if not lowest <= VERSION <= highest:
            older = "the backend" if lowest > VERSION else f"'{hello.client}'"
            sentence = f"'{hello.client}' speaks protocol {lowest} to {highest}, the backend {VERSION}: update {older}."
            client.reply(Rejected(versions=(VERSION, VERSION), message=sentence))
            return
        client.label = hello.client
        self._admission.look_for_models()
        device, models = self._supervisor.device, self._admission.models
        welcome = Welcome(version=VERSION, app_version=self._app_version, boot_id=self.boot_id, models=models, device=device)
        client.reply(welcome)
        log.info("client '%s' is here", client.label)

    def _job(self, job_id: str) -> Job:
        job = self._jobs.ledger.job(job_id)
        if job is None:
            raise RequestError(f"The backend knows no job {job_id}: submit it.")
        return job

    def _cancel(self, client: Client, job: Job) -> None:
        if job.id not in client.following:
            client.follow(job.id, max(0, job.next_seq - (1 if job.ended else 0)))  # its end is an answer, too
        was_stopping = job.stopping
        job = self._jobs.wish_cancel(job)
        if job.stopping and not was_stopping:
            log.info("job %s: halting attempt %d", job.id, job.attempt)
            self._halt_by_s[job.id] = now() + self._settings.halt_grace_s
            self._supervisor.send(Halt(job_id=job.id, attempt=job.attempt))

    def _fetch(self, client: Client, fetch: Fetch) -> None:
        job = self._job(fetch.job_id)
        last = self._jobs.ledger.events(job.id, job.next_seq - 1)[-1]
        if not isinstance(last, Finished):
            raise RequestError(f"Job {job.id} has no picture: it is {job.state}.")
        if fetch.offset >= last.size_bytes:
            raise RequestError(f"The picture has {last.size_bytes} bytes: there is nothing at offset {fetch.offset}.")
        client.fetch(fetch, last.size_bytes)

    def _estimate(self, asked: Estimate) -> Estimated:
        try:
            models = self._admission.choose(asked.models, asked.request)
            return self._estimator.estimate(asked.key, asked.request, models, self._supervisor.device)
        except ValueError as error:  # a rule that the request or the model set breaks
            return Estimated(key=asked.key, obstacle=str(error)[:4000])

    def _describe(self, job: Job) -> JobInfo:
        request, progress = job.submit.request, self._live.newest(job.id, Progressed)
        reached = progress.message.fraction if progress is not None and isinstance(progress.message, Progressed) else 0.0
        return JobInfo(
            job_id=job.id,
            state=job.state,
            attempt=job.attempt,
            width=request.width,
            height=request.height,
            prompt=request.prompt[:80],
            fraction=1.0 if job.state == "finished" else reached,
        )

    # The worker.

    def _take(self, report: Report, payload: Sequence[memoryview | bytes]) -> None:
        if not isinstance(report, Advanced | Sketched | Kept | Done | Broke | Halted):
            return  # Ready and Heartbeat are the supervisor's
        job = self._jobs.current(report.job_id, report.attempt)
        if job is None:
            log.info("job %s: a word of attempt %d comes too late", report.job_id, report.attempt)
            return
        match report:
            case Advanced():
                self._live.advance(report, job.next_seq - 1, now())
            case Sketched() if payload:
                self._live.sketch(report, payload[0], job.next_seq - 1)
            case Kept():
                self._jobs.get_further(job)
            case Done() if not job.stopping:
                self._publish(job, report)
            case Broke() if not job.stopping:
                self._end(self._jobs.fail(job, report.message))
            case Done() | Broke() | Halted() if job.stopping:
                self._end(self._jobs.cancel(job))
            case Halted():  # nobody asked it to, so it is leaving
                self._end(self._jobs.lose(job, "The worker process gave the job back."))

    def _publish(self, job: Job, done: Done) -> None:
        try:
            self._files.publish(done)
        except OSError as error:
            self._end(self._jobs.fail(job, f"The picture could not be stored: {error}."))
        else:
            self._end(self._jobs.finish(job, done))
            self._make_room()

    def _end(self, job: Job) -> None:
        """Tidy up after an attempt; `job` is how it left the job."""
        log.info("job %s: %s after attempt %d", job.id, job.state, job.attempt)
        self._halt_by_s.pop(job.id, None)
        if job.ended:
            self._live.forget(job.id)
            self._files.tidy(job.id, finished=job.state == "finished")

    def _make_room(self) -> None:
        for job_id in self._quota.make_room():
            log.info("job %s: its picture made room for newer ones", job_id)

    def _supervise(self) -> None:
        reason = self._supervisor.check(now())
        if reason is not None:
            for job in self._jobs.running():
                self._end(self._jobs.lose(job, reason))
            if self._supervisor.failed_starts >= FAILED_STARTS:
                words = f"{reason} It could not start {self._supervisor.failed_starts} times in a row. "
                words += f"Its last words: {self._supervisor.last_words()} (log: {self._supervisor.log_path})"
                for job in self._jobs.waiting():
                    self._end(self._jobs.fail(job, words))
        for job_id, by_s in self._halt_by_s.items():
            if now() > by_s:
                self._supervisor.end(f"The worker process did not stop job {job_id} in time.")
        running, waiting = self._jobs.running(), self._jobs.waiting()
        if running or waiting:
            self.busy_s = now()
        if self._supervisor.ready and waiting and not running:
            self._start(waiting[0])

    def _start(self, job: Job) -> None:
        device = self._supervisor.device
        assert device is not None
        job = self._jobs.start(job, device)
        folder = self._files.begin(job.id, job.attempt)
        work = Work(
            job_id=job.id,
            attempt=job.attempt,
            request=job.submit.request,
            models=job.submit.models,
            models_folder=self._admission.folder_of(job.submit.models),
            arrays=job.submit.arrays,
            result_path=str(picture_in(folder)),
            checkpoints_folder=str(folder),
        )
        log.info("job %s: attempt %d starts on %s", job.id, job.attempt, device.name)
        self._supervisor.send(work, *self._jobs.ledger.frames(job.id))
