"""How one gateway runs; read once, at its start."""

import ipaddress
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from ..models.sets import Manifest

MIB = 1024 * 1024
GIB = 1024 * MIB


class ServeError(ValueError):
    """The gateway cannot run as asked. The message names the thing, the rule and the next step."""


class InUseError(ServeError):
    """Another gateway has the data folder."""


class ServeSettings(Struct, frozen=True, kw_only=True):
    """Everything that can be chosen about a gateway. Nothing of it comes from a client."""

    data_folder: Path  # ledger, checkpoints, results and logs; made if absent; one gateway at a time
    ready_file: Path  # the connection file appears here once clients may connect, and goes away at the end
    bind: str = "tcp://127.0.0.1:0"  # port 0: any free one
    model_folders: tuple[Path, ...] = ()  # model sets beside those of the package
    parent_pid: int | None = None  # leave when this process is gone
    idle_exit_s: float | None = None  # leave after so long without a job and without a word from a client
    worker_command: tuple[str, ...] = ()  # empty: the package's own worker
    halt_grace_s: float = 10.0  # from a cancel to the end of a worker that does not heed it
    worker_start_s: float = 300.0  # from its start to its Ready: it imports torch
    worker_silence_s: float = 60.0  # without a heartbeat, after which a worker counts as dead
    waiting_jobs: int = 1000  # more are refused
    results_limit_bytes: int = 20 * GIB  # of kept pictures, beyond which the oldest fetched ones go
    frame_limit_bytes: int = 64 * MIB  # one mask of 8192x8192
    message_limit_bytes: int = 512 * MIB
    message_limit_frames: int = 260  # a header and a mask for each of 256 people


class FoundModelSet(Protocol):
    """What the gateway needs to know about a model set."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def training_resolution_px(self) -> int: ...
    @property
    def latent_downsampling(self) -> int: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def missing_roles(self) -> tuple[str, ...]: ...

    def check(self) -> None:
        """Raise ValueError with one sentence if the set is incomplete."""
        ...


FindModelSets = Callable[[Sequence[Path]], Sequence[FoundModelSet]]


def own_worker_command() -> tuple[str, ...]:
    """The worker of this package, in this interpreter."""
    package = (__package__ or "").rpartition(".")[0]
    return (sys.executable, "-m", package, "worker")


def check_bind(endpoint: str) -> None:
    """Raise ServeError unless `endpoint` is TCP on this machine's loopback."""
    parts = urlsplit(endpoint)
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
        port = parts.port
    except ValueError:
        loopback, port = False, None
    if parts.scheme != "tcp" or port is None or not loopback:
        raise ServeError(
            f"The address '{endpoint}' is not one of this machine alone, but without a list of allowed clients the backend "
            "listens on loopback only: use tcp://127.0.0.1:0, or a fixed port instead of 0."
        )
