"""A backend of our own: started as a process, found by the file it writes, stopped when Blender leaves."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import bpy

from ..protocol import ConnectionFile, read_connection
from ..protocol.whole import patiently

START_S = 60.0  # it imports no torch before it listens, but a cold disk may be slow
STOP_S = 6.0  # the gateway gives its worker 3 s
IN_USE = 5  # exit code of a backend whose data folder is another one's


class BackendError(RuntimeError):
    """No backend can be had. The message names the thing, the rule and the next step."""


class BackendProcess:
    """`python -m beyondscene.backend serve` in a process of its own, from construction to `stop`.

    It keeps jobs and pictures in the user's data folder, and goes on with those of the last Blender. A second Blender at the
    same time has a folder of its own, and what is under way there ends with it.

    python: interpreter in which `beyondscene` is installed.
    own_data: that folder, which goes when the process is stopped; None where it is the user's.
    Raises BackendError where it cannot be started.
    """

    def __init__(self, python: str, models_folder: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="beyondscene-"))
        self.log = self.folder / "backend.log"
        self._ready_file = self.folder / "connection.json"
        self.own_data: Path | None = None
        self._python = python
        self._options = ["--ready-file", str(self._ready_file), "--parent-pid", str(os.getpid())]
        if models_folder:
            self._options += ["--models-dir", models_folder]
        self._process = self._start()

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [self._python, "-m", "beyondscene.backend", "serve", *self._options, *options]
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        environment["PYTHONIOENCODING"] = "utf-8"  # as the log is read, also where Windows has another encoding
        self._started = time.monotonic()
        try:
            with self.log.open("wb") as log:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self.folder,  # so that a folder named beyondscene in the current one is not taken for the package
                    start_new_session=True,  # Ctrl-C in the terminal is for Blender, which can still cancel what it asked for
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            remove(self.folder)
            raise BackendError(
                f"The backend's Python '{self._python}' cannot be run ({error.strerror}): choose another in "
                "Preferences > Add-ons."
            ) from error

    def poll(self) -> ConnectionFile | None:
        """Where the backend listens, or None while it is still starting. Raises BackendError where it has failed."""
        if self._process.poll() == IN_USE:
            self.own_data = self.folder / "data"
            self._process = self._start("--data", str(self.own_data))
        if self._process.poll() is not None:
            words = self.last_words()
            told = words.startswith("beyondscene: ")  # by the backend itself, which is there then
            advice = "" if told else f"see that `beyondscene` is installed in {self._python}; "
            raise BackendError(f"The backend ended as it started, saying '{words}': {advice}its log is {self.log}.")
        try:
            return read_connection(self._ready_file)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise BackendError(f"The backend's connection file cannot be read: {error}. Start the backend again.") from error
        if time.monotonic() - self._started > START_S:
            raise BackendError(f"The backend has not begun to listen within {START_S:.0f} s: see its log, {self.log}.")
        return None

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        lines = self.log.read_text("utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")

    def stop(self, *, keep_log: bool = False) -> None:
        """The process has ended when this returns, and its folder is gone; of that the log can be kept."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if not keep_log:
            remove(self.folder)
            return
        self._ready_file.unlink(missing_ok=True)
        if self.own_data:
            remove(self.own_data)


def remove(folder: Path) -> None:
    """As far as that can be done: on Windows a worker holds it for a moment yet, until it has seen its gateway's end."""
    with suppress(OSError):
        patiently(lambda: shutil.rmtree(folder))
    shutil.rmtree(folder, ignore_errors=True)


def default_python() -> str:
    """The interpreter to use where the artist has chosen none: BEYONDSCENE_PYTHON, or the one that runs the bpy wheel."""
    # Blender's own Python has no torch; only where bpy is a wheel is the running interpreter an environment of its owner.
    return os.environ.get("BEYONDSCENE_PYTHON", "") or ("" if bpy.app.binary_path else sys.executable)


def find_backend(key_file: str, *, online: bool) -> ConnectionFile:
    """The backend of that key file. Raises BackendError. Touches no bpy, so that a thread can wait for a drive.

    online: whether it may be on another machine.
    """
    try:
        backend = read_connection(Path(key_file))
    except (OSError, ValueError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise BackendError(
            f"No backend can be found through the key file '{key_file}' ({reason}): start the backend that writes it, "
            "or choose This Machine under Backend."
        ) from error
    check_online(backend.endpoint, allowed=online)
    return backend


def check_online(endpoint: str, *, allowed: bool) -> None:
    """Raise BackendError for a backend on another machine unless that is allowed, as by Blender's online access."""
    if allowed:
        return
    host = urlsplit(endpoint).hostname or ""
    try:
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise BackendError(
            f"The backend at {endpoint} is on another machine, and Blender's online access is off: allow it in "
            "Preferences > System > Network, or use a backend on this machine."
        )
