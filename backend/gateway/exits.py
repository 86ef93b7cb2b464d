"""How a worker process ended, in words."""

import signal
from pathlib import Path

REFUSED = 2  # exit code of a process that has said what somebody is to put right


def describe_exit(code: int) -> str:
    """A sentence on how a process ended, with the likely cause."""
    if code >= 0:
        return f"The worker process ended with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return (
            f"The worker process was killed (exit code {code}, SIGKILL); most likely the machine ran out of memory: "
            "choose a smaller size or close other programs."
        )
    return f"The worker process crashed (exit code {code}, {name})."


def last_line(log_path: Path, start: int) -> str:
    """The last line that a process has logged, for the message of a failure. start: where its part begins, in bytes."""
    try:
        with log_path.open("rb") as file:
            file.seek(max(start, log_path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
