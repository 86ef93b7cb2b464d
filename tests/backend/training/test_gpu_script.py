"""tools/gpu/train.sh refuses at once what would end a run on a GPU minutes later."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("free_mb", "told"), [(2047, "/dev/shm has 2047 MB free, but those who load batches"), (8000, "")])
def test_too_small_a_dev_shm_is_refused(free_mb: int, told: str, tmp_path: Path) -> None:
    for name, says in {"df": f"echo Avail; echo {free_mb}", "python": '[ "$1" != - ] || exit 7'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    # A python that has all that is needed, and sees no GPU, which ends the script there.
    here = os.environ | {"PATH": path, "PYTHON": str(tmp_path / "python"), "OUT": str(tmp_path / "out")}
    command = ["bash", "tools/gpu/train.sh", "embedded", "--work", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, timeout=60, check=False)
    assert told in done.stderr and ("mount -o remount,size=8G /dev/shm" in done.stderr) == bool(told)
    assert done.returncode == (2 if told else 7)
