"""The clients' side of the gateway: who is there, what each follows, and sending at the speed at which it reads.

Nothing is queued for a client that does not read. What it has yet to be told is a place in the ledger, the newest of the
live slots and a place in a file; it is sent when the client's pipe has room.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Container
from contextlib import suppress

import zmq

from ...protocol import CHUNK_BYTES, CREDIT_CHUNKS, Chunk, Fetch, Previewed, Progressed, Refused, encode
from ...protocol.messages import Message
from .counts import Counts
from .files import JobFiles
from .ledger import Ledger
from .live import Live
from .room import shortage
from .sockets import Incoming

log = logging.getLogger(__name__)

CLIENTS = 256  # beyond this the one silent for longest is forgotten and has to say Hello again
FOLLOWED = 1024  # jobs per client
REPLIES = 64  # per client that does not read; more are dropped, which it asks for again
REFUSALS = 1024  # the same of refusals, each of which is the only answer to something
LIVE_INTERVAL_S = 0.05  # progress is sent at most so often


class Following:
    """How far a client has been told about one job."""

    def __init__(self, next_seq: int) -> None:
        self.next_seq = next_seq
        self.versions = {Progressed: 0, Previewed: 0}  # of the live slots


class Fetching:
    """A piece of a result that a client has asked for and not yet been sent."""

    def __init__(self, fetch: Fetch, size_bytes: int) -> None:
        self.job_id = fetch.job_id
        self.offset = fetch.offset
        self.chunks = fetch.chunks
        self.size_bytes = size_bytes  # of the whole file
        self.ready = b""  # read from the file, so that a full pipe does not cost a reading each time


class Client:
    """One connection."""

    def __init__(self, routing_id: bytes, key: str) -> None:
        self.routing_id = routing_id
        self.key = key  # public key, Z85: who it is
        self.label = ""  # set by its Hello
        self.heard_s = 0.0
        self.replies: deque[Message] = deque()
        self.following: dict[str, Following] = {}
        self.fetching: deque[Fetching] = deque()

    @property
    def greeted(self) -> bool:
        return bool(self.label)

    def reply(self, message: Message) -> None:
        """Tell it when it reads. Beyond REPLIES the oldest is dropped, beyond REFUSALS the oldest refusal."""
        refusal = isinstance(message, Refused)
        self.replies.append(message)
        like = [one for one in self.replies if isinstance(one, Refused) == refusal]
        if len(like) > (REFUSALS if refusal else REPLIES):
            self.replies.remove(like[0])

    def follow(self, job_id: str, since_seq: int) -> None:
        """Tell the client about a job from event `since_seq` on. Beyond FOLLOWED the one followed for longest is dropped."""
        self.following.pop(job_id, None)
        self.following[job_id] = Following(since_seq)
        if len(self.following) > FOLLOWED:
            del self.following[next(iter(self.following))]

    def fetch(self, fetch: Fetch, size_bytes: int) -> None:
        """Send a piece of a result, within the credit of that result: several may be on their way at a time."""
        if sum(piece.chunks for piece in self.fetching if piece.job_id == fetch.job_id) + fetch.chunks > CREDIT_CHUNKS:
            message = f"At most {CREDIT_CHUNKS} chunks of a result may be on their way: ask for more when they have come."
            self.reply(Refused(job_id=fetch.job_id, message=message))
        else:
            self.fetching.append(Fetching(fetch, size_bytes))


class Clients:
    """All connections of the clients' socket. Times are seconds of a monotonic clock."""

    def __init__(self, socket: zmq.Socket[bytes], ledger: Ledger, live: Live, files: JobFiles, counts: Counts) -> None:
        self._socket = socket
        self._ledger = ledger
        self._live = live
        self._files = files
        self._counts = counts
        self._clients: dict[bytes, Client] = {}
        self._live_sent_s = 0.0

    def client(self, message: Incoming, now_s: float) -> Client:
        """Whoever sent `message`, new or known."""
        client = self._clients.get(message.sender)
        if client is None:
            if len(self._clients) >= CLIENTS:
                del self._clients[min(self._clients.values(), key=lambda client: client.heard_s).routing_id]
            client = self._clients[message.sender] = Client(message.sender, message.key)
        client.heard_s = now_s
        return client

    def forget(self, keys: Container[str]) -> None:
        """Tell the holders of these keys nothing more; should they still be allowed in, they have to say Hello again."""
        for client in tuple(self._clients.values()):
            if client.key in keys:
                del self._clients[client.routing_id]

    def deliver(self, now_s: float) -> None:
        """Send each client what it has yet to be told, as far as its pipe has room."""
        self._counts.clients = len(self._clients)
        live = now_s - self._live_sent_s >= LIVE_INTERVAL_S
        if live:
            self._live_sent_s = now_s
        for client in tuple(self._clients.values()):
            try:
                self._deliver(client, live)
            except zmq.Again:
                pass  # it does not read at the moment, or no file can be opened; its places are kept
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                log.info("client '%s' is gone", client.label)
                del self._clients[client.routing_id]

    def _deliver(self, client: Client, live: bool) -> None:
        while client.replies:
            self._send(client, client.replies[0])
            client.replies.popleft()
        for job_id, following in tuple(client.following.items()):
            self._tell(client, job_id, following, live)
        while client.fetching:
            self._send_chunk(client, client.fetching[0])
            if client.fetching[0].chunks == 0:
                client.fetching.popleft()

    def _tell(self, client: Client, job_id: str, following: Following, live: bool) -> None:
        job = self._ledger.job(job_id)
        if job is not None and following.next_seq < job.next_seq:
            for event in self._ledger.events(job_id, following.next_seq):
                self._send(client, event)
                following.next_seq = event.seq + 1
        if job is None or job.ended:
            del client.following[job_id]  # there is nothing more to tell
        elif live:
            for kind, version in following.versions.items():
                slot = self._live.newest(job_id, kind)
                if slot is not None and slot.version > version:
                    self._send(client, slot.message, *slot.payload)
                    following.versions[kind] = slot.version

    def _send_chunk(self, client: Client, piece: Fetching) -> None:
        if not piece.ready:
            try:
                piece.ready = self._files.read(piece.job_id, piece.offset, CHUNK_BYTES)
            except OSError as error:
                if shortage(error, self._files.data_folder):
                    raise zmq.Again from error
                if isinstance(error, FileNotFoundError):  # somebody has deleted it, so it fills no quota
                    with suppress(sqlite3.Error):  # where the disk is full, the next one to ask for it will do
                        self._ledger.forget_result(piece.job_id)
                log.error("job %s: its result cannot be read: %s", piece.job_id, error, extra={"job_id": piece.job_id})
        if not piece.ready:
            client.reply(Refused(job_id=piece.job_id, message="The picture is no longer there: render it again."))
            piece.chunks = 0
            return
        chunk = Chunk(job_id=piece.job_id, offset=piece.offset, size_bytes=piece.size_bytes)
        self._send(client, chunk, piece.ready)
        self._counts.sent_bytes += len(piece.ready)
        piece.offset += len(piece.ready)
        piece.chunks = piece.chunks - 1 if piece.offset < piece.size_bytes else 0
        piece.ready = b""

    def _send(self, client: Client, message: Message, *payload: memoryview | bytes) -> None:
        """Raises zmq.Again where the pipe is full."""
        self._socket.send_multipart([client.routing_id, *encode(message, payload)], zmq.DONTWAIT)
