"""A disk that is full in earnest: a job waits for room, says how much, and goes on; nothing is lost and nobody leaves."""

import errno
import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from beyondscene.backend.cli import main
from beyondscene.backend.gateway.room import needed_bytes, shortage
from beyondscene.protocol import (
    Accepted,
    Cancel,
    Cancelled,
    Finished,
    JobsListed,
    ListJobs,
    Paused,
    Ping,
    Pong,
    Progressed,
    Refused,
    Started,
    Submit,
    describe_array,
)
from beyondscene.protocol.client import new_job_id
from msgspec.structs import replace

from .conftest import Connect, Start
from .talk import Running, masked_person, picture

DISK_MIB = 16

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="a disk of one's own takes a mount namespace",
)


class Disk:
    """The small disk on which a gateway has its data, as seen from outside."""

    def __init__(self, gateway: Running) -> None:
        self.data_folder = Path(f"/proc/{gateway.process.pid}/root{gateway.data_folder}")
        self._ballast = self.data_folder / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            file.write(bytes(max(0, shutil.disk_usage(self.data_folder).free - leave_bytes)))

    def clear(self) -> None:
        self._ballast.unlink()


def test_a_job_waits_until_there_is_room_for_it(start: Start, connect: Connect) -> None:
    gateway = start(disk_mib=DISK_MIB)
    talk, disk = connect(gateway), Disk(gateway)
    disk.fill(leave_bytes=2 * 2**20)
    first, second = talk.submit(picture()), talk.submit(picture())
    paused = talk.hear_until(Paused, first)
    assert paused.needed_bytes == needed_bytes(Submit(job_id=first, request=picture())) and paused.free_bytes <= 2 * 2**20
    assert f"the job needs {paused.needed_bytes} bytes" in paused.message
    talk.hear_until(Paused, second)
    talk.say(ListJobs())
    assert [job.state for job in talk.hear_until(JobsListed).jobs] == ["paused", "paused"]
    talk.say(Cancel(job_id=second))
    talk.hear_until(Cancelled, second)
    disk.clear()
    talk.hear_until(Finished, first)
    assert [type(event) for event in talk.of(first) if not isinstance(event, Progressed)][:3] == [Accepted, Paused, Started]


def test_a_command_says_that_the_disk_is_full_only_while_a_job_waits_for_it(
    start: Start, connect: Connect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = start(disk_mib=DISK_MIB)
    talk, disk = connect(gateway), Disk(gateway)
    disk.fill(leave_bytes=2 * 2**20)
    job_id = talk.submit(picture(steps=1))
    talk.hear_until(Paused, job_id)
    threading.Timer(2.0, disk.clear).start()
    assert main(["wait", job_id, "--ready-file", str(gateway.ready_file)]) == 0
    assert capsys.readouterr().err.count("The backend's disk is full") == 1
    assert main(["fetch", job_id, "-o", str(tmp_path / "out.png"), "--ready-file", str(gateway.ready_file)]) == 0
    assert "full" not in capsys.readouterr().err


def test_fetched_pictures_make_room_on_a_small_disk(start: Start, connect: Connect) -> None:
    gateway = start(disk_mib=DISK_MIB)
    talk, disk = connect(gateway), Disk(gateway)
    request = picture(steps=1, side_px=1024)  # a picture of 3 MiB
    first = talk.hear_until(Finished, talk.submit(request))
    disk.fill(leave_bytes=needed_bytes(Submit(job_id=first.job_id, request=request)) - 2 * 2**20)
    second = talk.submit(request)
    talk.hear_until(Paused, second)
    talk.receive(first)
    talk.receive(talk.hear_until(Finished, second, timeout_s=60))
    third = talk.submit(request)
    talk.hear_until(Finished, third, timeout_s=60)
    assert not any(isinstance(event, Paused) for event in talk.of(third))


def test_no_picture_goes_where_all_that_were_fetched_would_not_make_room(start: Start, connect: Connect) -> None:
    gateway = start(disk_mib=DISK_MIB)
    talk, disk = connect(gateway), Disk(gateway)
    first = talk.hear_until(Finished, talk.submit(picture(steps=1, side_px=512)))
    data = talk.receive(first)
    disk.fill(leave_bytes=4 * 2**20)
    talk.hear_until(Paused, talk.submit(picture(steps=1, side_px=1024)))  # which takes 8 MiB more
    assert talk.receive(first) == data


def test_paused_jobs_count_in_the_limit_and_what_no_disk_of_this_size_takes_is_refused(start: Start, connect: Connect) -> None:
    gateway = start(disk_mib=DISK_MIB, waiting_jobs=2)
    talk, disk = connect(gateway), Disk(gateway)
    talk.submit(picture(side_px=2048))
    refused = talk.hear_until(Refused)
    assert f"which has {DISK_MIB * 2**20} in all: choose a smaller size" in refused.message and not refused.later
    disk.fill(leave_bytes=2 * 2**20)
    for _ in range(2):
        talk.hear_until(Paused, talk.submit(picture()))
    talk.submit(picture())
    refused = talk.hear_until(Refused)
    assert "2 jobs are waiting, which is the limit" in refused.message and refused.later


def test_a_disk_that_fills_up_under_a_running_job(start: Start, connect: Connect) -> None:
    gateway = start(disk_mib=DISK_MIB)
    talk, disk = connect(gateway), Disk(gateway)
    undisturbed = talk.hear_until(Finished, talk.submit(picture(steps=60, seed=5)))
    job_id = talk.submit(picture(steps=60, seed=5))
    while not (isinstance(event := talk.hear(), Progressed) and event.job_id == job_id and event.step > 20):
        pass
    disk.fill()
    mask = np.zeros((1024, 1024), np.uint8)
    reference = describe_array(mask)
    person = masked_person(reference)
    other = Submit(
        job_id=undisturbed.job_id[:-4] + "0000",
        request=replace(picture(steps=1, side_px=1024), characters=(person,)),
        arrays=(reference,),
    )
    talk.say(other, [mask.tobytes()])  # more than the ledger has room for
    refused = talk.hear_until(Refused, other.job_id)
    assert "the disk is full: it takes 5242880 bytes" in refused.message and refused.later
    talk.say(Ping())
    talk.hear_until(Pong)
    disk.clear()
    assert talk.hear_until(Finished, job_id).digest == undisturbed.digest
    talk.say(other, [mask.tobytes()])
    talk.hear_until(Finished, other.job_id)
    assert gateway.process.poll() is None


def test_what_a_job_has_kept_itself_is_not_in_its_way(start: Start, connect: Connect) -> None:
    gateway = start(disk_mib=DISK_MIB)
    talk, disk = connect(gateway), Disk(gateway)
    request = picture("stumbles", side_px=256)  # hangs behind two checkpoints of 1.5 MiB, one in place of the other
    disk.fill(leave_bytes=needed_bytes(Submit(job_id=new_job_id(), request=request)) + 2**19)
    job_id = talk.submit(request)
    while not (isinstance(event := talk.hear(), Progressed) and event.step > 12):
        pass
    gateway.worker().kill()
    talk.hear_until(Finished, job_id)
    assert not any(isinstance(event, Paused) for event in talk.of(job_id))


def test_a_used_up_quota_is_a_full_disk_whatever_sqlite_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert not shortage(error, tmp_path)

    def refuse(_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("os.fsync", refuse)
    assert "quota" in shortage(error, tmp_path)
