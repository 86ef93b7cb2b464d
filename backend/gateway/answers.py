"""What is answered to each message of a client."""

import logging
import sqlite3
import uuid
from collections.abc import Sequence

from ...protocol import (
    VERSION,
    Cancel,
    Decoder,
    DeviceInfo,
    Estimate,
    Estimated,
    Fetch,
    Finished,
    Hello,
    JobInfo,
    JobsListed,
    ListJobs,
    Ping,
    Pong,
    Received,
    Refusal,
    Refused,
    Rejected,
    Request,
    RequestError,
    Submit,
    Subscribe,
    Welcome,
    WireError,
    find_job_id,
)
from ...protocol.messages import MESSAGE_LIMIT_BYTES, MESSAGE_LIMIT_FRAMES, SENTENCE_LIMIT
from ...protocol.text import one_line
from .admission import Admission
from .allow_list import AllowList, Listed
from .clients import Client, Clients
from .counts import Counts
from .dispatch import Dispatch
from .estimate import Estimator
from .jobs import JobConflict, Jobs
from .ledger import Job
from .live import Live
from .logs import about
from .room import RESERVE_BYTES, NotNow, shortage
from .settings import ServeSettings
from .sockets import Incoming

log = logging.getLogger(__name__)

decode_request = Decoder(Request)


class Answers:
    """Takes what clients say, one message at a time; the answers wait at the client until it reads."""

    def __init__(
        self,
        settings: ServeSettings,
        app_version: str,
        allow_list: AllowList,
        admission: Admission,
        jobs: Jobs,
        clients: Clients,
        live: Live,
        dispatch: Dispatch,
        counts: Counts,
    ) -> None:
        self.boot_id = uuid.uuid4().hex
        self._settings = settings
        self._app_version = app_version
        self._allow_list = allow_list
        self._admission = admission
        self._jobs = jobs
        self._estimator = Estimator(jobs.ledger)
        self._clients = clients
        self._live = live
        self._dispatch = dispatch
        self._counts = counts

    def refresh(self) -> None:
        """Take up what has changed in the list of clients: whoever left it is told nothing more."""
        self._clients.forget(self._allow_list.refresh())

    def hear(self, message: Incoming, now_s: float) -> None:
        self.refresh()  # for each message, so that none is taken of a key that has just been revoked
        client = self._clients.client(message, now_s)
        who = self._allow_list.who(message.key)
        if who is None:  # it got in while it was listed
            client.reply(Refused(message="This key is no longer allowed here: ask whoever runs the backend for a new one."))
            return
        try:
            request, payload = decode(message)
        except WireError as error:
            self._counts.malformed += 1
            sentence = f"The message was not understood: {error}"
            client.reply(Refused(job_id=find_job_id(message.frames), message=sentence[:SENTENCE_LIMIT]))
            return
        self._counts.messages[type(request).__name__] += 1
        if not client.greeted and not isinstance(request, Hello):
            client.reply(Refused(message="This connection is new to the backend: say Hello first.", greet=True))
            return
        sentence, later = self._try(client, who, request, payload, now_s)
        if sentence:
            self._counts.refused += 1
            client.reply(Refused(job_id=getattr(request, "job_id", None), message=sentence[:SENTENCE_LIMIT], later=later))

    def _try(
        self, client: Client, who: Listed, request: Request, payload: Sequence[memoryview | bytes], now_s: float
    ) -> tuple[str, bool]:
        """The sentence of a refusal, or nothing; and whether it holds only for now."""
        try:
            self._answer(client, who, request, payload, now_s)
        except (RequestError, WireError, JobConflict) as error:
            return str(error), isinstance(error, NotNow)
        except (sqlite3.Error, OSError) as error:
            if words := shortage(error, self._settings.data_folder):
                size_bytes = sum(map(len, payload)) + RESERVE_BYTES
                return f"The backend cannot take it now, as {words}: it takes {size_bytes} bytes; send it again later.", True
            log.exception("the disk could not take a %s", type(request).__name__)
            return f"The backend's disk could not take it ({error}): see its log.", False
        except Exception:  # a slip of ours: the other clients and their jobs must not pay for it
            log.exception("could not answer %s", type(request).__name__)
            return "The backend failed here: see its log.", False
        return "", False

    def _answer(
        self, client: Client, who: Listed, request: Request, payload: Sequence[memoryview | bytes], now_s: float
    ) -> None:
        """Raises RequestError, WireError or JobConflict with the sentence of a refusal."""
        who.check(request)
        match request:
            case Hello():
                self._greet(client, who, request)
            case Submit():
                job = self._jobs.find(request, who.name)
                if job is None:
                    self._admission.check(request, payload, who, self._jobs.pending())
                    job = self._jobs.submit(request, payload, who.name)
                    log.info("job %s: accepted from '%s' (%s)", job.id, who.name, client.label, extra=about(job))
                client.follow(job.id, 0)
            case Cancel():
                self._cancel(client, self._job(who, request.job_id), now_s)
            case Subscribe():
                client.follow(self._job(who, request.job_id).id, request.since_seq)
            case Fetch():
                self._fetch(client, self._job(who, request.job_id), request)
            case Received():
                self._note_received(who, self._job(who, request.job_id), request)
            case ListJobs():
                own = who.name if who.role == "submit" else None
                newest = self._jobs.ledger.newest
                found = [self._job(who, request.job_id)] if request.job_id else newest(request.limit, own)
                client.reply(JobsListed(jobs=tuple(map(self._describe, found))))
            case Estimate():
                client.reply(self._estimate(request))
            case Ping():
                waiting, running = len(self._jobs.waiting()), len(self._jobs.running())
                devices = self._dispatch.devices
                client.reply(Pong(queued=waiting, running=running, device=first(devices), devices=devices))

    def _greet(self, client: Client, who: Listed, hello: Hello) -> None:
        lowest, highest = hello.versions
        if not lowest <= VERSION <= highest:
            older = "the backend" if lowest > VERSION else "the add-on or program"  # not Blender, which is what it is called
            spoken = " to ".join(map(str, sorted({lowest, highest})))
            sentence = f"'{hello.client}' speaks protocol {spoken}, the backend {VERSION}: update {older}."
            client.reply(Rejected(versions=(VERSION, VERSION), message=sentence))
            return
        client.label = one_line(hello.client)  # in logs, which can be read on a terminal
        self._admission.look_for_models()
        client.reply(
            Welcome(
                version=VERSION,
                app_version=self._app_version,
                boot_id=self.boot_id,
                models=self._admission.models,
                device=first(self._dispatch.devices),
                devices=self._dispatch.devices,
                waiting_jobs=self._admission.waiting_jobs(who),
                receipts=True,
            )
        )
        log.info("'%s' is here (%s)", who.name, client.label)

    def _job(self, who: Listed, job_id: str) -> Job:
        job = self._jobs.ledger.job(job_id)
        if job is None or not who.sees(job):  # the same words, so that nobody learns of the jobs of others
            raise RequestError(f"The backend knows no job {job_id} of yours: `beyondscene jobs` lists those that it has.")
        return job

    def _cancel(self, client: Client, job: Job, now_s: float) -> None:
        if job.id not in client.following:
            client.follow(job.id, job.next_seq - 1 if job.ended else job.next_seq)  # its end is an answer, too
        before, job = job, self._jobs.wish_cancel(job)
        if job.stopping and not before.stopping:
            self._dispatch.halt(job, now_s)
        elif job.ended and not before.ended:
            self._dispatch.tidy(job)

    def _fetch(self, client: Client, job: Job, fetch: Fetch) -> None:
        last = self._jobs.last_event(job)
        if not isinstance(last, Finished):
            raise RequestError(f"Job {job.id} has no picture: it is {job.state}.")
        if fetch.offset >= last.size_bytes:
            raise RequestError(f"The picture has {last.size_bytes} bytes: there is nothing at offset {fetch.offset}.")
        client.fetch(fetch, last.size_bytes)

    def _note_received(self, who: Listed, job: Job, received: Received) -> None:
        """Where the owner has the picture it may make room for others; that an onlooker has it is no reason to delete it."""
        last = self._jobs.last_event(job)
        if not isinstance(last, Finished) or last.digest != received.digest:
            raise RequestError(f"Job {job.id} has no picture of the digest {received.digest}: fetch it again.")
        if who.owns(job):
            try:
                self._jobs.ledger.mark_fetched(job.id)
            except sqlite3.Error as error:
                if not (words := shortage(error, self._settings.data_folder)):
                    raise
                log.warning("job %s: that its picture was fetched is not noted: %s", job.id, words, extra=about(job))

    def _estimate(self, question: Estimate) -> Estimated:
        try:
            models = self._admission.choose(question.models, question.request)
            return self._estimator.estimate(question.key, question.request, models, first(self._dispatch.devices))
        except Refusal as error:  # a rule that the request or the model set breaks
            return Estimated(key=question.key, obstacle=str(error)[:SENTENCE_LIMIT])

    def _describe(self, job: Job) -> JobInfo:
        request = job.submit.request if job.submit else None
        return JobInfo(
            job_id=job.id,
            state=job.state,
            attempt=job.attempt,
            width=request.width if request else 1,
            height=request.height if request else 1,
            prompt=request.prompt[:80] if request else "(a request of another version)",
            fraction=1.0 if job.state == "finished" else self._live.fraction(job.id),
            owner=job.owner,
        )


def decode(message: Incoming) -> tuple[Request, Sequence[memoryview | bytes]]:
    """Raises WireError."""
    if len(message.frames) > MESSAGE_LIMIT_FRAMES:
        raise WireError(f"it has {len(message.frames)} frames, the limit is {MESSAGE_LIMIT_FRAMES}")
    if sum(map(len, message.frames)) > MESSAGE_LIMIT_BYTES:
        raise WireError(f"it is longer than the limit of {MESSAGE_LIMIT_BYTES} bytes")
    return decode_request(message.frames)


def first(devices: Sequence[DeviceInfo]) -> DeviceInfo | None:
    return next(iter(devices), None)
