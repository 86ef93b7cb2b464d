"""What the gateway does with each message, and its loop: one thread, no torch, nothing that blocks."""

import logging
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
    Fetch,
    Finished,
    Halt,
    Halted,
    Hello,
    ModelSetInfo,
    Ping,
    Pong,
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
    arrays_from_frames,
    check_request,
)
from .clients import Client, Clients
from .jobs import JobConflict, Jobs
from .ledger import Job, MemoryLedger
from .live import Live
from .results import ResultFolder
from .settings import FindModelSets, FoundModelSet, ServeSettings
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
        door: Door,
        socket: zmq.Socket[bytes],
        worker_socket: zmq.Socket[bytes],
        supervisor: Supervisor,
    ) -> None:
        self.boot_id = uuid.uuid4().hex
        self.malformed = 0  # messages from clients that were no messages
        self._settings = settings
        self._app_version = app_version
        self._find_model_sets = find_model_sets
        self._models: dict[str, FoundModelSet] = {}
        self._look_for_models()  # a folder that is no model set shows now
        self._door = door
        self._socket = socket
        self._worker_socket = worker_socket
        self._supervisor = supervisor
        self._results = ResultFolder(settings.data_folder / "results")
        self._live = Live()
        self._jobs = Jobs(MemoryLedger())
        self._clients = Clients(socket, self._jobs.ledger, self._live, self._results)
        self._halt_by_s: dict[str, float] = {}  # job id -> when the worker is killed for it
        self.busy_s = now()  # when last there was a job, or a word from a client

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
                    self._check(request, payload)
                    job = self._jobs.submit(request, tuple(payload))
                    log.info("job %s: accepted from '%s'", job.id, client.label)
                client.follow(job.id, 0)
            case Cancel():
                self._cancel(client, self._job(request.job_id))
            case Subscribe():
                client.follow(self._job(request.job_id).id, request.since_seq)
            case Fetch():
                self._fetch(client, request)
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
        self._look_for_models()
        models = tuple(
            ModelSetInfo(name=one.name, training_resolution_px=one.training_resolution_px, missing=one.missing_roles)
            for one in self._models.values()
        )
        device = self._supervisor.device
        welcome = Welcome(version=VERSION, app_version=self._app_version, boot_id=self.boot_id, models=models, device=device)
        client.reply(welcome)
        log.info("client '%s' is here", client.label)

    def _check(self, submit: Submit, payload: Sequence[memoryview | bytes]) -> None:
        """Refuse what cannot become a picture, before it is queued."""
        waiting = len(self._jobs.waiting())
        if waiting >= self._settings.waiting_jobs:
            raise RequestError(f"{waiting} jobs are waiting, which is the limit: try again when some are done.")
        models = self._models.get(submit.models)  # by name: nothing that a client says is ever a path
        if models is None:
            raise RequestError(f"There is no model set '{submit.models}': choose one of {', '.join(self._models) or 'none'}.")
        try:
            models.check()
        except ValueError as error:
            raise RequestError(str(error)) from error
        check_request(submit.request)
        arrays_from_frames(submit.arrays, payload)
        for character in submit.request.characters:
            if character.mask is not None and character.mask not in submit.arrays:
                raise RequestError(f"The mask of '{character.name}' did not come with the request: send its array along.")

    def _job(self, job_id: str) -> Job:
        job = self._jobs.ledger.job(job_id)
        if job is None:
            raise RequestError(f"The backend knows no job {job_id}; it may have been restarted since: submit it again.")
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

    def _look_for_models(self) -> None:
        """Raises ValueError at the start; later a folder that went bad leaves the list as it was."""
        try:
            self._models = {one.name: one for one in self._find_model_sets(self._settings.model_folders)}
        except ValueError as error:
            if not self._models:
                raise
            log.error("the model sets stay as they were: %s", error)

    # The worker.

    def _take(self, report: Report, payload: Sequence[memoryview | bytes]) -> None:
        if not isinstance(report, Advanced | Sketched | Done | Broke | Halted):
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
            self._results.publish(done)
        except OSError as error:
            self._end(self._jobs.fail(job, f"The picture could not be stored: {error}."))
        else:
            self._end(self._jobs.finish(job, done))

    def _end(self, job: Job) -> None:
        """Tidy up after an attempt; `job` is how it left the job."""
        log.info("job %s: %s after attempt %d", job.id, job.state, job.attempt)
        self._results.discard(job.id, job.attempt)
        self._halt_by_s.pop(job.id, None)
        if job.ended:
            self._live.forget(job.id)

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
        models = self._models.get(job.submit.models)
        work = Work(
            job_id=job.id,
            attempt=job.attempt,
            request=job.submit.request,
            models=job.submit.models,
            models_folder=str(models.folder) if models else "",
            arrays=job.submit.arrays,
            result_path=str(self._results.attempt_path(job.id, job.attempt)),
        )
        log.info("job %s: attempt %d starts on %s", job.id, job.attempt, device.name)
        self._supervisor.send(work, *job.payload)
