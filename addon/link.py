"""The way to the backend: the process of our own, if it is one, and the connection to it. Main thread only."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import bpy

from ..protocol import ConnectionFile
from ..protocol.client import Client, Heard
from .backend_process import BackendError, BackendProcess, check_online, find_backend
from .connection import Connection
from .preferences import Preferences

AGAIN_S = 10.0  # between two times that a backend is tried that fell silent

State = Literal["off", "starting", "connecting", "ready", "lost"]


class Link:
    """state: `ready` once the backend has said Welcome, which whoever hears it notes here; `lost` where it fell silent and is
    tried again.

    lost: why that was necessary, until it is ready again.

    endpoint: empty before it is known. log: of a backend of our own, also after its end where it was kept.
    """

    def __init__(self) -> None:
        self.state: State = "off"
        self.endpoint = ""
        self.log = ""
        self.lost = ""
        self._again_s = 0.0  # when it is tried again
        self._preferences: Preferences | None = None
        self._process: BackendProcess | None = None
        self._connection: Connection | None = None

    @property
    def alive(self) -> bool:
        """Whether there is anything to wait for."""
        return self.state != "off"

    @property
    def local(self) -> bool:
        """Whether the backend is a process of our own."""
        return self._process is not None

    @property
    def lasting(self) -> bool:
        """Whether the backend's jobs outlast it, so that a later one goes on with them."""
        return self._process is None or self._process.own_data is None

    def start(self, preferences: Preferences) -> None:
        """Connect to the backend of the key file, or start one; `watch` does the rest. Raises BackendError."""
        self._preferences = preferences
        if preferences.connection_file is not None:
            self._connect(preferences.connection_file)
        elif preferences.python:
            if self.log:  # of an earlier one that failed
                shutil.rmtree(Path(self.log).parent, ignore_errors=True)
            self._process = BackendProcess(preferences.python, preferences.models_folder)
            self.state, self.log = "starting", str(self._process.log)
        else:
            raise BackendError(
                "No Python for the backend is chosen, and Blender's own has no PyTorch: name the one that the backend was "
                "installed in (.venv/bin/python of its folder, or .venv\\Scripts\\python.exe on Windows; docs/addon.md) under "
                "Backend, or in Preferences > Add-ons."
            )

    def stop(self, *, keep_log: bool = False) -> None:
        """Part from the backend; a process of our own has ended when this returns, and its log is gone or kept."""
        if self._connection:
            self._connection.close()
        if self._process:
            self._process.stop(keep_log=keep_log)
            self.log = self.log if keep_log else ""
        self._connection = self._process = None
        self.state, self.endpoint, self.lost, self._again_s = "off", "", "", 0.0

    def lose(self, why: str) -> None:
        """The backend fell silent, or was not found again: `watch` tries again every `AGAIN_S`."""
        if self._connection:
            self._connection.close()
        self._connection, self.state, self.lost = None, "lost", why

    def hurry(self) -> None:
        """Try again without waiting any longer."""
        self._again_s = 0.0

    def watch(self) -> bool:
        """Connect to a process of our own once it listens, or again to a backend that fell silent; True if anything changed.

        Raises BackendError where the process ended, or where a backend elsewhere may no longer be reached.
        """
        if self.state == "lost":
            return self._try_again()
        if self.endpoint:
            check_online(self.endpoint, allowed=bpy.app.online_access)
        if self._process is None:
            return False
        if self._connection is None:
            connection = self._process.poll()
            if connection is None:
                return False
            self._open(connection)
            return True
        if self._process.ended:
            raise BackendError(
                f"The backend ended unexpectedly, saying '{self._process.last_words()}': see its log, "
                f"{self._process.log}, then start it again."
            )
        return False

    def ask(self, wish: Callable[[Client], None]) -> None:
        """Have `wish` done by the thread that owns the socket. Only where there is a connection."""
        assert self._connection, "nobody is there to ask"
        self._connection.ask(wish)

    def hear(self) -> Heard | None:
        """The oldest word that was not heard yet."""
        if self._connection is None:
            return None
        heard = self._connection.hear()
        self.endpoint = self._connection.endpoint or self.endpoint
        return heard

    def _try_again(self) -> bool:
        if time.monotonic() < self._again_s or self._preferences is None:
            return False
        self._again_s = time.monotonic() + AGAIN_S
        key_file, online = self._preferences.connection_file or "", bpy.app.online_access
        # Read over there: where its drive is not there, Blender would stand still as long as that takes.
        self._connection = Connection(lambda: find_backend(key_file, online=online), label())
        self.state = "connecting"
        return True

    def _connect(self, path: str) -> None:
        if not path:
            raise BackendError(
                "No key file is chosen: name the one that the backend gave out, or choose This Machine under Backend."
            )
        self._open(find_backend(path, online=bpy.app.online_access))

    def _open(self, backend: ConnectionFile) -> None:
        self._connection = Connection(lambda: backend, label())
        self.state, self.endpoint = "connecting", backend.endpoint


def label() -> str:
    """Who this is, for the backend's log."""
    return f"blender {bpy.app.version_string}"
