"""What must be true of a data folder after any fault, read from the disk and from nothing that the code believes."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from beyondscene.protocol import digest_of

ENDINGS = ("Finished", "Failed", "Cancelled")
LIVE = ("queued", "running", "paused")


def audit(data_folder: Path) -> dict[str, str]:
    """The state of each job, after every rule has been checked. The gateway must have ended."""
    with closing(sqlite3.connect(data_folder / "ledger.sqlite")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        states = dict(ledger.execute("SELECT id, state FROM jobs"))
        framed = {job_id for (job_id,) in ledger.execute("SELECT job_id FROM frames")}
    events = told(data_folder)
    assert set(events) == set(states)
    for job_id, of_job in events.items():
        kinds = [one["type"] for one in of_job]
        assert [one["seq"] for one in of_job] == list(range(len(of_job))), f"{job_id}: a gap"
        assert kinds[0] == "Accepted" and kinds.count("Accepted") == 1
        ended = [kind for kind in kinds if kind in ENDINGS]
        assert ended == [] if states[job_id] in LIVE else ended == [kinds[-1]] == [states[job_id].capitalize()]
        attempts = [one["attempt"] for one in of_job if one["type"] == "Started"]
        assert attempts == list(range(1, len(attempts) + 1))
        picture = data_folder / "results" / f"{job_id}.png"
        if states[job_id] == "finished":
            assert digest_of(picture.read_bytes()) == of_job[-1]["digest"], f"{job_id}: not the picture that was announced"
        elif states[job_id] not in LIVE:
            assert not picture.exists()
    assert framed <= {job_id for job_id, state in states.items() if state in LIVE}
    return states


def told(data_folder: Path) -> dict[str, list[dict]]:
    """The events of each job, in their order."""
    events: dict[str, list[dict]] = {}
    with closing(sqlite3.connect(data_folder / "ledger.sqlite")) as ledger:
        for job_id, event in ledger.execute("SELECT job_id, event FROM events ORDER BY job_id, seq"):
            events.setdefault(job_id, []).append(json.loads(event))
    return events


def redone(data_folder: Path) -> Counter[str]:
    """How many steps of each job the stand-in has done more than once."""
    lines = Counter((data_folder / "steps.log").read_text().split("\n")[:-1])
    counts: Counter[str] = Counter()
    for line, times in lines.items():
        counts[line.split()[0]] += times - 1
    return counts
