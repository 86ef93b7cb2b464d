"""Where jobs and their events are kept: one SQLite file, which one gateway at a time has open.

The file is locked for as long as its gateway lives, so there is one connection and one writer: what SQLite before 3.51.3
gets wrong with several (https://sqlite.org/wal.html#walresetbug) cannot happen, and a second gateway is kept out.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ...protocol import Accepted, Cancelled, Failed, Finished, Paused, Started, Stopping, Submit
from ...protocol.messages import JobState
from .migrations import let_shrink, migrate
from .settings import InUseError, ServeError

log = logging.getLogger(__name__)

DurableEvent = Accepted | Started | Stopping | Paused | Finished | Failed | Cancelled
ENDED: frozenset[JobState] = frozenset({"finished", "failed", "cancelled"})
LIVE = "('queued', 'running', 'paused')"
LOCAL = "local"  # owner of the jobs of whoever started the gateway

WAL_LIMIT_BYTES = 64 * 1024 * 1024  # to which the log is cut after a large transaction
LOOK_BACK = 1000  # jobs, for those with a model set: the whole request of each is read for its name
PIECE_PAGES = 512  # of 4 KiB, that are given back to the disk at a time
BUSY_S = 0.5  # of two that make the file at once, one waits until the other has given up

decode_event = msgspec.json.Decoder(DurableEvent).decode
decode_submit = msgspec.json.Decoder(Submit).decode


class Job(Struct, frozen=True, kw_only=True):
    """One job as it stands; every change makes a new one."""

    id: str
    submit: Submit | None  # None where another version has stored it in a way that this one cannot read
    unreadable: str = ""  # why, if so
    owner: str = LOCAL  # name of the client that submitted it
    state: JobState = "queued"
    attempt: int = 0  # of its newest start; 0 before the first
    losses: int = 0  # workers lost in a row without a new checkpoint
    stopping: bool = False  # a client wishes its end
    next_seq: int = 0  # of the event that comes next

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class KeptResult(Struct, frozen=True):
    """A picture in the folder of results. fetched: some client has had it whole."""

    job_id: str
    owner: str
    size_bytes: int
    fetched: bool


class Ledger:
    """Jobs in order of arrival, and for each the events that no client may miss, numbered from 0 without a gap.

    What a method has returned from is on the disk. sqlite3.Error: it is not, and the ledger is as it was.
    """

    def __init__(self, path: Path, ended_jobs: int = 1000) -> None:
        """ended_jobs: as many of the newest jobs without a kept result are remembered.

        Raises InUseError where another gateway has the file, ServeError where it is a newer version's, damaged or no ledger.
        """
        self._ended_jobs = ended_jobs
        self._db = open_database(path)
        rows = self._db.execute(f"SELECT {COLUMNS} FROM jobs WHERE state IN {LIVE} ORDER BY place").fetchall()
        self._live = {job.id: job for job in map(job_from_row, rows)}
        # SQLite reads a whole request to tell whose a job is, which stands behind it: too long for each submit and each end.
        query = "SELECT job_id, owner, size_bytes, fetched FROM results JOIN jobs ON jobs.id = job_id ORDER BY results.place"
        kept = (KeptResult(job_id, owner, size, bool(fetched)) for job_id, owner, size, fetched in self._db.execute(query))
        self._results = {result.job_id: result for result in kept}

    def close(self) -> None:
        self._db.close()

    def commit(self, job: Job, event: DurableEvent | None = None, frames: Sequence[bytes | memoryview] = ()) -> None:
        """Keep `job` as it now stands and the event that made it so: both or neither. frames: the arrays of a new job."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.execute(UPSERT, row_from_job(job))
            if event is not None:
                self._db.execute("INSERT INTO events VALUES (?, ?, ?)", (job.id, event.seq, text(event)))
            if isinstance(event, Finished):
                self._db.execute("INSERT INTO results (job_id, size_bytes) VALUES (?, ?)", (job.id, event.size_bytes))
            self._db.executemany("INSERT INTO frames VALUES (?, ?, ?)", [(job.id, n, data) for n, data in enumerate(frames)])
            if job.ended:
                self._db.execute("DELETE FROM frames WHERE job_id = ?", (job.id,))
                self._forget_old_jobs()
        if isinstance(event, Finished):
            self._results[job.id] = KeptResult(job.id, job.owner, event.size_bytes, fetched=False)
        if job.ended:
            self._live.pop(job.id, None)
        else:
            self._live[job.id] = job  # keeps its place if it was there

    def job(self, job_id: str) -> Job | None:
        if job_id in self._live:
            return self._live[job_id]
        row = self._db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return job_from_row(row) if row else None

    def live(self) -> Sequence[Job]:
        """The jobs that have not ended, in order of arrival."""
        return tuple(self._live.values())

    def newest(self, limit: int, owner: str | None = None) -> Sequence[Job]:
        """The last `limit` jobs, ended or not, in order of arrival; with an `owner`, of that one only."""
        query = f"SELECT {COLUMNS} FROM jobs WHERE ?1 IS NULL OR owner = ?1 ORDER BY place DESC LIMIT ?2"
        rows = self._db.execute(query, (owner, limit)).fetchall()
        return tuple(job_from_row(row) for row in reversed(rows))

    def finished(self, models: str, limit: int) -> Sequence[Job]:
        """The last `limit` jobs that made a picture with a model set, of the newest LOOK_BACK of any; newest first."""
        rows = self._db.execute(
            # A request that is no JSON, which would be an error, stops no other.
            f"SELECT {COLUMNS} FROM jobs WHERE state = 'finished' AND place > (SELECT max(place) FROM jobs) - {LOOK_BACK}"
            " AND CASE WHEN json_valid(submit) THEN json_extract(submit, '$.models') END IS ?"
            " ORDER BY place DESC LIMIT ?",
            (models, limit),
        )
        return tuple(map(job_from_row, rows))

    def frames(self, job_id: str) -> list[bytes]:
        """The arrays of a job that has not ended."""
        rows = self._db.execute("SELECT data FROM frames WHERE job_id = ? ORDER BY number", (job_id,))
        return [data for (data,) in rows]

    def events(self, job_id: str, since_seq: int = 0) -> Sequence[DurableEvent]:
        rows = self._db.execute("SELECT event FROM events WHERE job_id = ? AND seq >= ? ORDER BY seq", (job_id, since_seq))
        return [decode_event(event) for (event,) in rows]

    def results(self) -> Sequence[KeptResult]:
        """The pictures that are kept, oldest first."""
        return tuple(self._results.values())

    def request_bytes(self, owner: str) -> int:
        """Of the requests and arrays of this owner's jobs that have not ended."""
        queries = (
            f"SELECT total(length(submit)) FROM jobs WHERE state IN {LIVE} AND owner = ?",
            "SELECT total(length(data)) FROM frames CROSS JOIN jobs ON jobs.id = job_id WHERE owner = ?",  # in this order
        )
        return sum(int(self._db.execute(query, (owner,)).fetchone()[0]) for query in queries)

    def mark_fetched(self, job_id: str) -> None:
        self._db.execute("UPDATE results SET fetched = 1 WHERE job_id = ?", (job_id,))
        if job_id in self._results:
            self._results[job_id] = msgspec.structs.replace(self._results[job_id], fetched=True)

    def forget_result(self, job_id: str) -> None:
        self._db.execute("DELETE FROM results WHERE job_id = ?", (job_id,))
        self._results.pop(job_id, None)

    def shrink(self) -> None:
        """Give a piece of what is free in the file, such as the masks of jobs that have ended, back to the disk."""
        if self._db.execute("PRAGMA freelist_count").fetchone()[0] > PIECE_PAGES:
            self._db.executescript(f"PRAGMA incremental_vacuum({PIECE_PAGES})")  # `execute` would give back one page
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # which cuts the file

    def _forget_old_jobs(self) -> None:
        numbers = ("FROM jobs", f"FROM jobs WHERE state IN {LIVE}", "FROM results")  # of which none is found by reading rows
        jobs, live, kept = (self._db.execute(f"SELECT count(*) {rows}").fetchone()[0] for rows in numbers)
        old = self._db.execute(
            f"SELECT id FROM jobs WHERE id NOT IN (SELECT job_id FROM results) AND state NOT IN {LIVE} ORDER BY place LIMIT ?",
            (max(jobs - live - kept - self._ended_jobs, 0),),
        ).fetchall()
        self._db.executemany("DELETE FROM events WHERE job_id = ?", old)
        self._db.executemany("DELETE FROM jobs WHERE id = ?", old)


COLUMNS = "id, submit, owner, state, attempt, losses, stopping, next_seq"
Row = tuple[str, str, str, JobState, int, int, Literal[0, 1], int]
ResultRow = tuple[int, str, int, Literal[0, 1]]
UPSERT = (
    f"INSERT INTO jobs ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
    " attempt = excluded.attempt, losses = excluded.losses, stopping = excluded.stopping, next_seq = excluded.next_seq"
)


def row_from_job(job: Job) -> tuple[str | int, ...]:
    submit = text(job.submit)  # counts for a new job only; what is stored of a request never changes
    return job.id, submit, job.owner, job.state, job.attempt, job.losses, int(job.stopping), job.next_seq


def job_from_row(row: tuple) -> Job:
    job_id, stored, owner, state, attempt, losses, stopping, next_seq = row
    submit, unreadable = None, ""
    try:
        submit = decode_submit(stored)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        unreadable = str(error)
    return Job(
        id=job_id, submit=submit, unreadable=unreadable, owner=owner, state=state, attempt=attempt, losses=losses,
        stopping=bool(stopping), next_seq=next_seq,
    )  # fmt: skip


def text(struct: Struct | None) -> str:
    return msgspec.json.encode(struct).decode()


def open_database(path: Path) -> sqlite3.Connection:
    """The file at `path`, made if absent, brought to the present format and locked. Raises ServeError."""
    try:
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)  # transactions are begun and ended by us alone
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    try:
        for pragma in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",  # NORMAL would lose the last commits with the power
            f"journal_size_limit = {WAL_LIMIT_BYTES}",
        ):
            database.execute(f"PRAGMA {pragma}")
        damage = database.execute("PRAGMA quick_check").fetchone()[0]
        if damage != "ok":
            raise damaged(path, damage)
        migrate(database, path)
        if damage := find_damage(database):
            raise damaged(path, damage)
        let_shrink(database)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter where the damage is in what SQLite quotes
        database.close()
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # Python's own: of text that is none
        if code == sqlite3.SQLITE_BUSY:
            raise InUseError(
                f"The data folder {path.parent} is in use by another backend: use that one, end it, or choose another folder."
            ) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damaged(path, error) from error
        raise unusable(path, error) from error
    except ServeError:
        database.close()
        raise
    log.info("ledger %s, SQLite %s", path, sqlite3.sqlite_version)
    return database


def find_damage(database: sqlite3.Connection) -> str:
    """What is wrong with what the rows hold, which SQLite does not look at; nothing if all is well.

    A request is not looked at: one that cannot be read fails its own job.
    """
    events: Counter[str] = Counter()
    try:
        for job_id, seq, event in database.execute("SELECT job_id, seq, event FROM events ORDER BY job_id, seq"):
            known = decode_event(event)
            if (known.job_id, known.seq, seq) != (job_id, events[job_id], events[job_id]):
                return f"event {seq} of job {job_id} is not its own"
            events[job_id] += 1
        for row in database.execute(f"SELECT {COLUMNS} FROM jobs"):
            job_id, *_, next_seq = msgspec.convert(row, Row)
            if events.pop(job_id, 0) != next_seq:
                return f"an event of job {job_id} is missing"
        for row in database.execute("SELECT place, job_id, size_bytes, fetched FROM results"):
            msgspec.convert(row, ResultRow)
    except (ValueError, TypeError) as error:  # msgspec's own errors are ValueErrors
        return str(error)
    return f"there are events of job {next(iter(events))}, but no such job" if events else ""


def unusable(path: Path, error: Exception) -> ServeError:
    return ServeError(f"The ledger {path} cannot be used ({error}): see to its disk, or choose another data folder.")


def damaged(path: Path, damage: str | Exception) -> ServeError:
    return ServeError(
        f"The ledger {path} is damaged ({damage}): move it away to start with an empty queue; the pictures stay where they are."
    )
