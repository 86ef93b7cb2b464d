"""What containers and jobs of clusters leave to a process, as Linux's control groups tell it."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from beyondscene.backend import machine
from beyondscene.backend.cli import limit_threads
from beyondscene.backend.machine import Memory, core_count, find_memory
from beyondscene.backend.planning.expect import check_memory
from beyondscene.protocol import RequestError

GB = 10**9
NO_LIMIT = 9223372036854771712
STAT = "anon 1500000000\nfile 700000000\n{0}inactive_file 400000000\n{0}active_file 100000000\n"
JOB = {"memory.max": 3 * GB, "memory.high": "max", "memory.current": 2 * GB, "memory.stat": STAT.format("")}
JOB_1 = {"memory.limit_in_bytes": 3 * GB, "memory.usage_in_bytes": 2 * GB, "memory.stat": STAT.format("total_")}
TASK_1 = {"memory.limit_in_bytes": NO_LIMIT, "memory.usage_in_bytes": GB, "memory.stat": "inactive_file 0\n"}


@pytest.fixture(autouse=True)
def machine_of_16_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16 * GB, available=12 * GB))
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "groups", "found"),
    [
        ("", {}, Memory(16 * GB, 12 * GB)),
        ("0::/", {"": {"memory.stat": ""}}, Memory(16 * GB, 12 * GB)),
        ("0::/", {"": JOB}, Memory(3 * GB, 3 * GB // 2)),
        ("0::/", {"": JOB | {"memory.max": "max", "memory.high": 5 * GB // 2}}, Memory(5 * GB // 2, GB)),
        ("0::/job/task", {"job": JOB, "job/task": JOB | {"memory.max": "max"}}, Memory(3 * GB, 3 * GB // 2)),
        ("0::/job/task", {"job": JOB, "job/task": JOB | {"memory.current": 3 * GB}}, Memory(3 * GB, GB // 2)),
        ("0::/", {"": JOB | {"memory.current": 4 * GB}}, Memory(3 * GB, 0)),  # the limit was lowered
        ("0::/", {"": JOB | {"memory.max": 32 * GB}}, Memory(16 * GB, 12 * GB)),
        ("5:cpu,memory:/job/task\n0::/", {"memory/job": JOB_1, "memory/job/task": TASK_1}, Memory(3 * GB, 3 * GB // 2)),
        ("5:memory:/docker/1f\n1:name=systemd:/x", {"memory": JOB_1}, Memory(3 * GB, 3 * GB // 2)),  # it sees only its own
    ],
)
def test_memory_is_that_of_the_narrowest_group(tmp_path: Path, own: str, groups: dict[str, dict], found: Memory) -> None:
    write_groups(tmp_path, own, groups)
    assert find_memory() == found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no masks and no quotas")
@pytest.mark.parametrize(
    ("own", "groups", "cores"),
    [
        ("", {}, 8),
        ("0::/", {"": {"cpu.max": "max 100000"}}, 8),
        ("0::/job", {"": {"cpu.max": "350000 100000"}, "job": {"cpu.max": "max 100000"}}, 3),
        ("0::/", {"": {"cpu.max": "50000 100000"}}, 1),
        ("3:cpu:/job", {"cpu/job": {"cpu.cfs_quota_us": 200000, "cpu.cfs_period_us": 100000}}, 2),
        ("3:cpu:/", {"cpu": {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000}}, 8),
    ],
)
def test_threads_are_as_many_as_quota_and_mask_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, groups: dict[str, dict], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)  # a mask is OpenMP's own affair, which knows whole cores from halves
    write_groups(tmp_path, own, groups)
    assert core_count() == cores
    for given, wanted in ((None, str(cores) if cores < 8 else None), ("5", "5")):
        monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_NUM_THREADS": given})
        limit_threads()
        assert os.environ.get("OMP_NUM_THREADS") == wanted


def test_a_picture_that_the_container_cannot_hold_is_refused(tmp_path: Path) -> None:
    check_memory(16384, 16384)
    write_groups(tmp_path, "0::/", {"": JOB | {"memory.max": GB}})
    with pytest.raises(RequestError, match="needs 2 GB of memory or more, but the machine that renders it has 1 GB"):
        check_memory(16384, 16384)


def write_groups(folder: Path, own: str, groups: dict[str, dict]) -> None:
    (folder / "own").write_text(own)
    for name, files in groups.items():
        (folder / "cgroup" / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / "cgroup" / name / file).write_text(f"{content}\n")
