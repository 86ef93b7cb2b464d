"""The scripts for a GPU run where there is none, but for what only a GPU does."""

import json
import os
import shutil
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


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("bench.sh", ["second", "--parts", "ratios,magic"], "there is no part 'magic': see the parts of both calls"),
        ("bench.sh", ["first", "--minutes", "soon"], "--minutes is 'soon': write a number, as 8.5"),
        ("evaluate.sh", ["--minutes", "-1"], "--minutes is '-1': write a number, as 8.5"),
        ("train.sh", ["embedded", "--minutes", ""], "--minutes is '': write a number, as 8.5"),
        ("train.sh", ["judge", "--meanwhile", "true"], "leave it out for 'judge'"),
    ],
)
def test_what_a_script_cannot_do_is_refused_at_once(script: str, arguments: list[str], told: str) -> None:
    command = [f"tools/gpu/{script}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and told in done.stderr and done.stdout == ""


@pytest.mark.parametrize("status", [0, 1, 2])
def test_results_are_left_also_where_a_method_broke_off(status: int, tmp_path: Path) -> None:
    """A python that writes what `beyondscene evaluate` does, and ends with `status`."""
    here = tmp_path / "repository"
    shutil.copytree(ROOT / "tools" / "gpu", here / "tools" / "gpu")
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\ncase \"$*\" in *backend?evaluate*) ;; *) exec {sys.executable} -c 'print(60)' ;; esac\n"
        f"[ {status} = 2 ] || touch build/gpu/evaluation-cpu/results.md build/gpu/evaluation-cpu/cases.jpg\nexit {status}\n"
    )
    python.chmod(0o755)
    environment = os.environ | {"PYTHON": str(python), "OUT": str(tmp_path / "out")}
    command = ["bash", "tools/gpu/evaluate.sh", "--device", "cpu"]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status
    expected = [] if status == 2 else ["cases.jpg", "results.json", "results.md"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == expected


@pytest.mark.parametrize("call", ["third", ""])
def test_another_call_is_refused(call: str) -> None:
    done = subprocess.run(["tools/gpu/bench.sh", call], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "the first argument is 'first' or 'second'" in done.stderr
