"""The formats of the ledger's file, and the way from each to the next."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from .settings import ServeError

log = logging.getLogger(__name__)

APPLICATION_ID = 0x42535A4C  # "BSZL", in the header of the file
INCREMENTAL = 2  # of `PRAGMA auto_vacuum`

# One step from each format to the next. A released step never changes; a new one is added behind it.
MIGRATIONS = (
    """
    CREATE TABLE jobs (
        place INTEGER PRIMARY KEY,  -- in the order of arrival
        id TEXT NOT NULL UNIQUE,
        submit TEXT NOT NULL,       -- JSON
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        losses INTEGER NOT NULL,
        stopping INTEGER NOT NULL,
        next_seq INTEGER NOT NULL
    );
    CREATE INDEX jobs_by_state ON jobs (state, place);
    CREATE TABLE frames (job_id TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (job_id, number));
    CREATE TABLE events (job_id TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (job_id, seq));
    CREATE TABLE results (
        place INTEGER PRIMARY KEY,  -- in the order of publication
        job_id TEXT NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        fetched INTEGER NOT NULL DEFAULT 0
    );
    """,
    """
    ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT 'local';  -- name of the client that submitted it
    """,
)


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest format, one step per transaction. Raises ServeError for a newer or a foreign file."""
    (format_,), (application_id,) = (
        database.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "application_id")
    )
    if format_ > len(MIGRATIONS):
        raise ServeError(
            f"The ledger {path} has format {format_}, this version knows {len(MIGRATIONS)} at most: "
            "update beyondscene, or choose another data folder."
        )
    with closing(database.execute("SELECT count(*) FROM sqlite_schema")) as tables:
        empty = tables.fetchone()[0] == 0
    if application_id != APPLICATION_ID and not empty:
        raise ServeError(f"{path} belongs to another program: choose another data folder.")
    for number, step in enumerate(MIGRATIONS[format_:], start=format_ + 1):
        database.executescript(
            f"BEGIN; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def let_shrink(database: sqlite3.Connection) -> None:
    """Make a new file, or one of an earlier version, one that gives room back. It is written anew, whole or not at all."""
    if database.execute("PRAGMA auto_vacuum").fetchone()[0] == INCREMENTAL:
        return
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("VACUUM")
    except sqlite3.OperationalError as error:  # no room for the copy; it is good as it is
        log.warning("the ledger could not be made smaller: %s; it is tried again at the next start", error)
