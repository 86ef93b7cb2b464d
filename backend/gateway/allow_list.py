"""Who may come in and what each may do: one file in the data folder, read again as soon as it changes.

Names are labels for people and for the ledger; nothing is ever named after them on the disk.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ...protocol import Cancel, Estimate, Fetch, Hello, ListJobs, Ping, Received, Request, RequestError, Submit, Subscribe
from ...protocol.connection import Z85Key, write_secret
from ...protocol.locks import lock
from ...protocol.scene import Label
from .ledger import LOCAL, Job
from .settings import GIB, ServeError

log = logging.getLogger(__name__)

Role = Literal["submit", "observe", "admin"]

LOOKING = (Hello, Ping, Subscribe, Fetch, Received, ListJobs, Estimate)
MAY: dict[Role, tuple[type, ...]] = {
    "submit": (*LOOKING, Submit, Cancel),  # with jobs of one's own
    "observe": LOOKING,  # at everybody's
    "admin": (*LOOKING, Submit, Cancel),  # with everybody's
}

PATIENCE_S = 10.0  # with another command that changes the list

# The keys printed in the manual of zmq_curve(7), whose secrets everybody knows.
PUBLISHED = {"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"}


class Listed(Struct, frozen=True, kw_only=True):
    """Somebody who may come in."""

    name: Label
    public_key: Z85Key
    role: Role = "submit"
    waiting_jobs: Annotated[int, Meta(ge=0)] = 100  # more are refused
    stored_bytes: Annotated[int, Meta(ge=0)] = 20 * GIB  # of pictures that nobody has fetched, and of requests that wait

    def check(self, request: Request) -> None:
        """Raise RequestError for what the role does not allow."""
        if not isinstance(request, MAY[self.role]):
            raise RequestError(
                f"'{self.name}' may {self.role} here, which does not allow {type(request).__name__}: ask for another role."
            )
        if isinstance(request, Submit) and request.priority > 0 and self.role != "admin":
            raise RequestError("Priorities above 0 are for admins: submit with 0 or less.")

    def owns(self, job: Job) -> bool:
        """Whether the picture is theirs to keep: once they have it, it may be deleted here."""
        return self.role == "admin" or job.owner == self.name

    def sees(self, job: Job) -> bool:
        return self.role != "submit" or job.owner == self.name


class ListFile(Struct, frozen=True, kw_only=True):
    """The file `clients.json`."""

    format: Literal[1] = 1
    clients: tuple[Listed, ...] = ()


class AllowList:
    """The clients of one gateway: those of the file, and whoever started it, who is an admin."""

    def __init__(self, path: Path, local_key: bytes) -> None:
        """Raises ServeError where the file cannot be read."""
        self.keys: set[bytes] = set()  # of all who may come in; the door looks here at each handshake
        self._path = path
        self._local = Listed(name=LOCAL, public_key=local_key.decode(), role="admin", waiting_jobs=10**9, stored_bytes=2**62)
        self._stamp = stamp(path)
        self._by_key: dict[str, Listed] = {}
        self._take(read_list(path))

    def who(self, key: str) -> Listed | None:
        return self._by_key.get(key)

    def refresh(self) -> set[str]:
        """Read the file again if it has changed; return the keys for which something changed, that of a leaver among them.

        A file that cannot be read lets nobody in but whoever started the gateway.
        """
        now = stamp(self._path)
        if now == self._stamp:
            return set()
        self._stamp = now
        before = dict(self._by_key)
        try:
            self._take(read_list(self._path))
        except ServeError as error:
            if len(self.keys) > 1:  # once, however long it lasts
                log.error("nobody of the list is let in: %s", error)
            if isinstance(error.__cause__, OSError):  # which may pass without a change of the file
                self._stamp = None
            self._take(ListFile())
        changed = {key for key in before.keys() | self._by_key.keys() if before.get(key) != self._by_key.get(key)}
        if changed:
            log.info("the list of clients has changed for %d keys", len(changed))
        return changed

    def _take(self, file: ListFile) -> None:
        self._by_key = {client.public_key: client for client in (*file.clients, self._local)}
        self.keys.clear()
        self.keys.update(key.encode() for key in self._by_key)


def list_path(data_folder: Path) -> Path:
    return data_folder / "clients.json"


def read_list(path: Path) -> ListFile:
    """An absent file is an empty list. Raises ServeError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ListFile)
    except FileNotFoundError:
        return ListFile()
    except (OSError, ValueError) as error:
        raise ServeError(
            f"The list of clients {path} cannot be read ({error}): mend it, or remove it and add them again."
        ) from error


@contextmanager
def changing(path: Path) -> Iterator[tuple[Listed, ...]]:
    """Those listed in `path`; within, nobody else changes the list. Raises ServeError where somebody does for too long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up_s = time.monotonic() + PATIENCE_S
    with path.with_suffix(".lock").open("ab") as file:
        while not lock(file):
            if time.monotonic() > give_up_s:
                raise ServeError(f"Another command is changing the list of clients {path}: try again when that has ended.")
            time.sleep(0.02)
        yield read_list(path).clients


def add(path: Path, client: Listed) -> None:
    """Raises ServeError for a name or a key that is listed already, and for a key that everybody knows."""
    with changing(path) as listed:
        if client.name in {LOCAL, *(other.name for other in listed)}:
            raise ServeError(f"The name '{client.name}' is taken: choose another, or revoke it first.")
        if client.public_key in {other.public_key for other in listed}:
            raise ServeError("This key is listed under another name: one key, one client.")
        if client.public_key in PUBLISHED:
            raise ServeError("This key is printed in a manual, so all have its secret: make one with `beyondscene keygen`.")
        write_list(path, [*listed, client])


def change(path: Path, name: str, terms: dict[str, Any]) -> Listed:
    """Give the client other `terms`, which are fields of it by name; its key stays. Raises ServeError for a name not listed."""
    with changing(path) as listed:
        changed = msgspec.structs.replace(find(listed, name), **terms)
        write_list(path, [changed if client.name == name else client for client in listed])
    return changed


def revoke(path: Path, name: str) -> None:
    """Raises ServeError for a name that is not listed."""
    with changing(path) as listed:
        find(listed, name)
        write_list(path, [client for client in listed if client.name != name])


def find(listed: Sequence[Listed], name: str) -> Listed:
    """Raises ServeError for a name that is not listed."""
    found = next((client for client in listed if client.name == name), None)
    if found is None:
        names = ", ".join(f"'{client.name}'" for client in listed) or "nobody"
        raise ServeError(f"There is no client '{name}': listed are {names}.")
    return found


def write_list(path: Path, clients: Sequence[Listed]) -> None:
    write_secret(path, msgspec.json.format(msgspec.json.encode(ListFile(clients=tuple(clients)))))


def stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
