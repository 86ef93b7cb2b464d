"""A lock is one program's at a time; on Windows, by what its C runtime documents of `_locking`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from beyondscene.protocol import locks

HOLDER = """
import sys
from beyondscene.protocol.locks import lock
file = open(sys.argv[1], "ab")
print(lock(file), flush=True)
input()
"""


def test_a_file_is_locked_by_one_program_at_a_time_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "one"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other, path.open("ab") as file:
        assert other.stdout and other.stdout.readline() == b"True\n"
        assert not locks.lock(file)
        other.kill()
        other.wait()
        assert locks.lock(file)


class FakeRuntime(ModuleType):
    """`msvcrt`, as far as it is documented: a region is locked from where the descriptor stands, and another's is EACCES.

    It is not Windows: what it shows is which byte would be locked, and that the file is left as it was.
    """

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.locked: list[tuple[int, int, int]] = []

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert mode == self.LK_NBLCK
        region = os.lseek(descriptor, 0, os.SEEK_CUR), count
        if any(held[1:] == region for held in self.locked):
            raise PermissionError(13, "Permission denied")
        self.locked.append((descriptor, *region))


def test_windows_would_lock_a_byte_that_nobody_needs_to_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    monkeypatch.setitem(sys.modules, "msvcrt", runtime)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("windows_locks", locks.__file__)
    assert spec and spec.loader
    windows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(windows)
    path = tmp_path / "one"
    path.write_bytes(b"what has come")
    with path.open("a+b") as file, path.open("r+b") as other:  # as transfers and Blenders open theirs
        file.seek(0)
        assert file.read(4) == b"what"  # the rest is in Python's buffer, where seeking need not move the descriptor
        assert windows.lock(file) and not windows.lock(other)
        ((_, offset, count),) = runtime.locked
        assert (offset, count) == (2**31 - 2, 1)  # the last that _locking, whose offsets are 32 bits, can reach
        assert file.read() == b" has come" and other.read() == b"what has come"
        file.write(b" so far")
    assert path.read_bytes() == b"what has come so far"
