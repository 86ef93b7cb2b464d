"""Exit codes, and streams that are full, closed, read no more or a terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from beyondscene.backend.cli import info, main
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace


def test_a_fault_of_ours_is_not_taken_for_something_to_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "find_model_sets", lambda: np.zeros(2) + np.zeros(3))
    with pytest.raises(ValueError, match="operands could not be broadcast"):  # with its traceback, and Python's exit code 1
        main(["info"])


INTERRUPTED_IMPORT = """
import sys
from beyondscene.backend import cli
assert "numpy" not in sys.modules  # whose own import takes a while
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "numpy":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.exit(cli.main(["info"]))
"""


def test_an_interrupt_while_the_command_is_still_being_loaded_is_one_word() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "beyondscene: interrupted\n")


INTERRUPTED_WORK = """
import os, signal, sys, time
from beyondscene.backend import cli
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background
class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
sys.exit(cli.answer(lambda: Closing() and time.sleep(20)))
"""


def test_a_signal_is_not_lost_where_python_drops_what_is_raised() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_WORK], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "beyondscene: interrupted\n")


def export_to(stdout: int, request_file: Path) -> tuple[int, str]:
    """Exit code and errors of a command that writes one line to `stdout`."""
    command = [sys.executable, "-m", "beyondscene.backend", "export", str(request_file), "-o", str(request_file)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=buffered)
    return done.returncode, done.stderr


def test_an_output_that_takes_no_more_is_told_by_the_exit_code(request_file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does when it has read enough
    assert export_to(writing, request_file) == (141, "")
    os.close(writing)
    if not Path("/dev/full").exists():
        pytest.skip("this system has no disk that is always full")
    with Path("/dev/full").open("w") as full:
        words = "beyondscene: Something cannot be read or written (No space left on device): make room on the disk.\n"
        assert export_to(full.fileno(), request_file) == (2, words)


def test_a_log_that_nobody_reads_any_more_is_told_by_the_exit_code(request_file: Path) -> None:
    (picture := request_file.with_name("out.png")).touch()
    reading, writing = os.pipe()
    os.close(reading)
    for code, arguments in (
        (141, ["render", str(request_file), "-o", str(picture), "--skip-existing"]),  # which would say that all is there
        (2, ["check", "none.json"]),  # what is to be put right counts for more
        (2, ["check", "--frobnicate"]),
    ):
        done = subprocess.run([sys.executable, "-m", "beyondscene.backend", *arguments], stderr=writing)
        assert done.returncode == code
    os.close(writing)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
def test_closed_streams_are_as_empty_ones(request_file: Path, two_people: RenderRequest) -> None:
    request_file.write_bytes(msgspec.json.encode(replace(two_people, prompt="a plaza with a Zeppelin")))  # of which it warns

    def run_with(closing: str, *command: str) -> "subprocess.CompletedProcess[str]":
        shell = ["sh", "-c", f'exec "$0" "$@" {closing}', sys.executable, "-m", "beyondscene.backend", *command]
        return subprocess.run(shell, capture_output=True, text=True)

    done = run_with("<&-", "check", "-")
    assert done.returncode == 2 and done.stderr.startswith("beyondscene: Standard input is not a render request")
    done = run_with("2>&-", "check", str(request_file), "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["people"] == 2  # and nothing else stands there


def test_what_is_told_is_utf_8_whatever_the_locale(request_file: Path, tmp_path: Path) -> None:
    """As on Windows, where what goes to a file or a pipe is otherwise in an encoding of the country's."""
    for name in ("広場.json".encode(), b"not utf-8 \xff.json"):
        output = os.fsencode(tmp_path) + b"/" + name
        command = [sys.executable, "-m", "beyondscene.backend", "export", str(request_file), "-o", output]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == output + b": 192x128, 2 characters\n"
    command = [sys.executable, "-m", "beyondscene.backend", "check", "広場.json"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp932"})
    assert done.returncode == 2 and done.stderr.decode().startswith("beyondscene: There is no file 広場.json")


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of this encoding")
def test_a_terminal_is_told_in_other_words_what_it_cannot_show(request_file: Path, tmp_path: Path) -> None:
    reading, writing = os.openpty()
    command = [sys.executable, "-m", "beyondscene.backend", "export", str(request_file), "-o", str(tmp_path / "広場.json")]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u5e83\\u5834.json: 192x128, 2 characters" in os.read(reading, 10_000)
    os.close(reading)
    os.close(writing)
