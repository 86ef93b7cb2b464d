"""The ledger as a file: of earlier versions, of later ones, of others, and damaged."""

import random
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from beyondscene.backend.gateway import ServeError
from beyondscene.backend.gateway import migrations as module
from beyondscene.backend.gateway.jobs import Jobs
from beyondscene.backend.gateway.ledger import Ledger, open_database
from beyondscene.backend.gateway.migrations import MIGRATIONS
from beyondscene.protocol import Cancelled, DeviceInfo, Finished, JobDone, RenderRequest, Started, Submit

from .talk import picture

GOLDEN = Path(__file__).parents[2] / "golden"
ONE_MORE = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN colour INTEGER NOT NULL DEFAULT 0;")


def write(path: Path, dump: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(dump.read_text())


def format_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture(params=sorted(GOLDEN.glob("ledger-*.sql")), ids=lambda dump: dump.stem)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A ledger as a released version left it when it was killed, with jobs in every state."""
    write(tmp_path / "ledger.sqlite", request.param)
    yield tmp_path / "ledger.sqlite"


def check_that_jobs_continue(path: Path) -> None:
    ledger = Ledger(path)
    jobs = Jobs(ledger)
    finished, running, stopping, waiting, *paused = ledger.newest(10)  # none could be paused in format 1
    assert [job.state for job in (finished, running, stopping, waiting)] == ["finished", "running", "running", "queued"]
    assert [jobs.needed_bytes(job) for job in paused] in ([], [536870912])
    jobs.resume()
    assert [job.id for job in jobs.waiting()] == [running.id, waiting.id]
    assert isinstance(ledger.events(stopping.id)[-1], Cancelled)
    assert isinstance(ledger.events(finished.id)[-1], Finished)
    assert [one.job_id for one in ledger.results()] == [finished.id]
    started = jobs.start(jobs.waiting()[0], ledger.events(finished.id)[1].device)  # pyright: ignore
    assert started.attempt == 2 and isinstance(ledger.events(running.id, 2)[0], Started)
    assert ledger.frames(waiting.id) == [bytes(64)] and not ledger.frames(finished.id)
    assert running.submit is not None and jobs.find(running.submit) is not None
    assert waiting.submit is not None
    assert waiting.submit.request.characters[0].part_prompts == {"head": "freckles"}
    ledger.close()


def test_jobs_of_earlier_versions_continue(path: Path) -> None:
    check_that_jobs_continue(path)
    assert format_of(path) == len(MIGRATIONS)


def test_the_masks_of_jobs_that_have_ended_take_no_room_of_the_disk(path: Path) -> None:
    for file in (path, path.with_name("new.sqlite")):
        ledger = Ledger(file)
        jobs = Jobs(ledger)
        ids = [str(uuid.UUID(int=number)) for number in (1, 2)]
        request = RenderRequest(width=64, height=64, prompt="a field")
        ended, _ = (jobs.submit(Submit(job_id=one, request=request), [bytes([n]) * 2**24]) for n, one in enumerate(ids))
        jobs.cancel(ended)
        assert file.stat().st_size > 2**25
        for _ in range(20):
            ledger.shrink()
        assert file.stat().st_size < 1.3 * 2**24
        assert ledger.frames(ids[1]) == [b"\x01" * 2**24]
        ledger.close()
        assert Ledger(file).job(ids[1]) is not None


def test_every_format_has_a_golden_file() -> None:
    assert {dump.stem for dump in GOLDEN.glob("ledger-*.sql")} == {f"ledger-{n}" for n in range(1, len(MIGRATIONS) + 1)}


def test_jobs_continue_in_a_format_to_come_and_there_is_no_way_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIGRATIONS", ONE_MORE)
    check_that_jobs_continue(path)
    assert format_of(path) == len(ONE_MORE)
    before = path.read_bytes()
    monkeypatch.undo()
    with pytest.raises(
        ServeError, match=f"has format {len(ONE_MORE)}, this version knows {len(MIGRATIONS)} at most: update beyondscene"
    ):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_migration_that_breaks_off_leaves_the_old_format(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIGRATIONS", (*ONE_MORE[:-1], ONE_MORE[-1] + "and then the lights went out"))
    with pytest.raises(ServeError, match="cannot be used"):
        Ledger(path)
    monkeypatch.undo()
    assert format_of(path) == len(MIGRATIONS)
    check_that_jobs_continue(path)


def test_what_is_no_ledger_of_ours_is_left_as_it_is(tmp_path: Path) -> None:
    foreign, junk = tmp_path / "foreign.sqlite", tmp_path / "junk.sqlite"
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE theirs (x)")
    junk.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ServeError, match="belongs to another program"):
        Ledger(foreign)
    with pytest.raises(ServeError, match=r"is damaged \(file is not a database\): move it away"):
        Ledger(junk)
    assert junk.read_bytes().startswith(b"not a database")


def test_a_damaged_ledger_is_named(path: Path) -> None:
    Ledger(path).close()
    data = bytearray(path.read_bytes())
    for offset in range(4096, len(data), 512):
        data[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(ServeError, match="is damaged"):
        Ledger(path)
    assert path.read_bytes() == data


def test_a_request_that_is_no_json_stops_no_estimate(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE jobs SET submit = '{' WHERE state = 'finished'")
        database.commit()
    assert not Ledger(path).finished("sdxl", 8)


def test_thousands_of_kept_pictures_delay_neither_submit_nor_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row read is a request read, for SQLite."""
    database, steps = open_database(tmp_path / "ledger.sqlite"), list[None]()
    monkeypatch.setattr("beyondscene.backend.gateway.ledger.open_database", lambda _: database)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    jobs = Jobs(ledger)

    def draw(number: int) -> None:
        job = jobs.submit(Submit(job_id=f"{number:08}-0000-0000-0000-000000000000", request=picture()))
        assert len(ledger.results()) == number and ledger.request_bytes("ann") == 0
        job, facts = jobs.start(job, DeviceInfo(kind="cpu", name="a")), {"media_type": "image/png", "size_bytes": 1}
        jobs.finish(job, JobDone(job_id=job.id, attempt=1, width=64, height=64, digest="0" * 64, times=(), **facts))

    database.execute("PRAGMA synchronous = OFF")
    for number in range(300):
        draw(number)
    database.set_progress_handler(lambda: steps.append(None), 1)
    draw(300)
    database.set_progress_handler(None, 0)
    assert len(steps) < 1500
    ledger.mark_fetched(ledger.results()[0].job_id)
    ledger.forget_result(ledger.results()[1].job_id)
    before = ledger.results()
    ledger.close()
    monkeypatch.undo()
    assert Ledger(tmp_path / "ledger.sqlite").results() == before and before[0].fetched and len(before) == 300


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"cannot be used \(unable to open database file"):
        Ledger(tmp_path / "gone" / "ledger.sqlite")


def test_any_damage_is_refused_or_costs_one_job_and_nothing_else_is_raised(tmp_path: Path) -> None:
    """Bytes flipped, cut off, or another file in its place, at random."""
    dice, outcomes = random.Random(5), Counter[str]()
    write(tmp_path / "whole.sqlite", GOLDEN / f"ledger-{len(MIGRATIONS)}.sql")
    Ledger(tmp_path / "whole.sqlite").close()
    whole = (tmp_path / "whole.sqlite").read_bytes()
    for number in range(60):
        path = tmp_path / str(number) / "ledger.sqlite"
        path.parent.mkdir()
        data = bytearray(whole)
        match number % 4:
            case 0 | 1:
                for _ in range(dice.randrange(1, 20)):
                    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            case 2:
                del data[dice.randrange(len(data)) :]
            case 3:
                data = bytearray(dice.choice([b"\x80\x04\x95" + dice.randbytes(500), dice.randbytes(5000), b"PK", b"{}"]))
        path.write_bytes(data)
        try:
            ledger = Ledger(path)
        except ServeError:
            outcomes["refused"] += 1
            assert path.read_bytes() == data  # it is left to whoever can repair it
            continue
        jobs = Jobs(ledger)
        jobs.resume()
        for job in ledger.newest(10):
            ledger.events(job.id)
        ledger.results()
        ledger.close()
        outcomes["opened"] += 1
    assert outcomes["refused"] > 15 and outcomes["opened"] > 5


def test_damage_in_the_names_of_columns_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    Ledger(tmp_path / "whole.sqlite").close()
    whole, refused = (tmp_path / "whole.sqlite").read_bytes(), 0
    for place in range(whole.index(b"CREATE"), 4096, 16):
        path = tmp_path / str(place) / "ledger.sqlite"
        path.parent.mkdir()
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        try:
            Ledger(path).close()
        except ServeError:
            refused += 1
    assert refused > 20


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from beyondscene.backend.gateway import migrations as module
from beyondscene.backend.gateway.ledger import Ledger
connect = module.sqlite3.connect
def connect_and_be_killed(*given, **options):
    database = connect(*given, **options)
    database.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return database
module.sqlite3.connect = connect_and_be_killed
module.MIGRATIONS += ("ALTER TABLE jobs ADD COLUMN colour INTEGER NOT NULL DEFAULT 0; SELECT die();",)
Ledger(Path(sys.argv[1]))
"""


def test_killed_in_the_middle_of_a_migration(path: Path) -> None:
    before = format_of(path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert format_of(path) == len(MIGRATIONS) >= before  # each step before it was whole
    check_that_jobs_continue(path)
