"""Logs: plain lines for people on standard error, and one JSON object per line in a file for programs."""

import logging
import logging.handlers
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

LOG_LIMIT_BYTES = 4 * 1024 * 1024
ABOUT = ("job_id", "attempt", "worker")


class OfJob(Protocol):
    """A job, or a word about one."""

    @property
    def attempt(self) -> int: ...


def about(job: OfJob) -> dict[str, Any]:
    """For `extra=`: which job and which attempt a log line is about."""
    return {"job_id": getattr(job, "job_id", None) or getattr(job, "id", ""), "attempt": job.attempt}


class JsonLines(logging.Formatter):
    """time (UTC), level, logger and message; job_id, attempt and worker where the line is about one; an exception's trace."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name.rpartition("beyondscene.")[2],
            "message": record.getMessage(),
            **{name: value for name in ABOUT if (value := getattr(record, name, None)) is not None},
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class LogFile(logging.handlers.RotatingFileHandler):
    """Leaves out what a full disk does not take: whoever meets the shortage says so, on standard error too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (named by logging)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # what it still had to write
            super().close()


def start_log(path: Path) -> logging.Handler:
    """Log to standard error and to `path`, of which one older file is kept."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    handler = LogFile(path, maxBytes=LOG_LIMIT_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    return handler


def stop_log(handler: logging.Handler) -> None:
    logging.getLogger().removeHandler(handler)
    handler.close()
