"""The scripts for a GPU run where there is none, but for what only a GPU does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_second_call_of_the_bench_leaves_one_table_and_one_line_for_each_picture(tmp_path: Path) -> None:
    told = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path)}
    command = ["tools/gpu/bench.sh", "second", "--tiny", "--device", "cpu", "--minutes", "20"]
    subprocess.run(command, cwd=ROOT, env=told, check=True, capture_output=True, timeout=500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second.jsonl", "second.log", "second.md"]
    lines = [json.loads(line) for line in (tmp_path / "second.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines] == ["targets", "preview", "ratios", "ratios"]
    assert all(line["seconds"] > 0 for line in lines)
    table = (tmp_path / "second.md").read_text()
    assert table.count("| method |") == 3 and "<!-- preview -->" in table


@pytest.mark.parametrize("call", ["third", ""])
def test_another_call_is_refused(call: str) -> None:
    done = subprocess.run(["tools/gpu/bench.sh", call], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "the first argument is 'first' or 'second'" in done.stderr
