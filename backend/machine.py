"""What processes may take of this machine: in a container, or in a job of a cluster, what Linux's control groups leave them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
COUNTS = Path("/proc/vmstat")
# Of version 2, and of version 1 of control groups: a limit, what counts against it, and the names of files among that.
MEMORY_FILES = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    ("memory.high", "memory.current", ("inactive_file", "active_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)


class Memory(NamedTuple):
    """In bytes. available: what can be taken before something is swapped out or killed; cached files give way."""

    total: int
    available: int


def find_memory() -> Memory:
    """Of the machine, or of the narrowest of the groups that this process is in."""
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    for group in own_groups("memory"):
        for limit_name, taken_name, file_names in MEMORY_FILES:
            limit, taken = read_words(group / limit_name), read_words(group / taken_name)
            if not taken or not limit[0].isdecimal():  # "max"
                continue
            words = read_words(group / "memory.stat")
            files = sum(int(words[words.index(name) + 1]) for name in file_names if name in words)
            total = min(total, int(limit[0]))
            available = min(available, max(0, int(limit[0]) - int(taken[0]) + files))
    return Memory(total, available)


def core_count() -> int:
    """How many threads can compute at the same time, without any of them being held back for what others have used up."""
    cores = masked_core_count()
    for group in own_groups("cpu"):
        quota, period = read_words(group / "cpu.cfs_quota_us"), read_words(group / "cpu.cfs_period_us")
        words = read_words(group / "cpu.max") or [*quota, *period]
        if words and words[0].isdecimal():  # not "max", nor -1
            cores = min(cores, max(1, int(words[0]) // int(words[1])))
    return cores


def masked_core_count() -> int:
    """How many cores this process may run on, for however much of the time."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory_kills() -> int:
    """How many processes Linux has killed so far since the machine, or one of its control groups, was out of memory."""
    words = read_words(COUNTS)
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0


def own_groups(controller: str) -> Iterator[Path]:
    """Folders of the groups of this process from the innermost on, as far as they are seen from in here."""
    for line in OWN_GROUPS.read_text().splitlines() if OWN_GROUPS.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = GROUPS / controller if controllers else GROUPS  # version 2 has all controllers in one place
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                yield folder


def read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # there is none: a group at the top has no limit
        return []
