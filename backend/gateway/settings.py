"""How one gateway runs; read once, at its start."""

import ipaddress
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from ...protocol import Refusal
from ...protocol.connection import is_reachable
from ...protocol.messages import FRAME_LIMIT_BYTES
from ..models.memory_saving import DEVICE_NAME, Offload, Precision
from ..models.sets import ModelSet

MIB = 1024 * 1024
GIB = 1024 * MIB
HOST_AND_PORT = r"(\[[^]/]+\]|[^]:/[]+):[0-9]+"


class ServeError(Refusal):
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
    release_s: float | None = None  # a worker without a job for so long ends, so that its device is free, until there is one
    devices: tuple[str, ...] = ("auto",)  # a worker for each, named as torch does; "auto": all GPUs, or else the CPU
    precision: Precision = "auto"  # of the large networks
    offload: Offload = "none"  # which networks wait in host memory: see DevicePlacement
    worker_command: tuple[str, ...] = ()  # empty: the package's own worker
    halt_grace_s: float = 10.0  # from a cancel to the end of a worker that does not heed it
    worker_start_s: float = 300.0  # from its start to its Ready: it imports torch
    worker_silence_s: float = 60.0  # without a heartbeat, after which a worker counts as dead
    stuck_s: float | None = 1800.0  # without a sign of getting on from a job, after which it counts as stuck: see Supervisor
    metrics_port: int | None = None  # of an HTTP server for Prometheus, on loopback
    waiting_jobs: int = 1000  # more are refused, whoever they are from
    results_limit_bytes: int = 20 * GIB  # of kept pictures, beyond which the oldest fetched ones go
    frame_limit_bytes: int = FRAME_LIMIT_BYTES


FindModelSets = Callable[[Sequence[Path]], Sequence[ModelSet]]


def own_worker_command() -> tuple[str, ...]:
    """The worker of this package, in this interpreter."""
    package = (__package__ or "").rpartition(".")[0]
    return (sys.executable, "-m", package, "worker")


def check_devices(devices: Sequence[str]) -> None:
    """Raise ServeError unless each names a device, and no GPU twice; whether this machine has it, its worker will find out."""
    for name in devices:
        if not re.fullmatch(DEVICE_NAME, name) or (name == "auto" and len(devices) > 1):
            raise ServeError(f"'{name}' is no device: write auto alone, or names such as cuda:0,cuda:1 or cpu.")
    if not devices:
        raise ServeError("No device is named: write auto, or names such as cuda:0,cuda:1 or cpu.")
    gpus = ["cuda:0" if name == "cuda" else name for name in devices if name != "cpu"]
    if twice := [name for name in set(gpus) if gpus.count(name) > 1]:
        raise ServeError(f"'{twice[0]}' is named twice, and two workers would need its memory twice: name each GPU once.")


def check_bind(endpoint: str, clients: int, data_folder: Path) -> None:
    """Raise ServeError unless `endpoint` is TCP on this machine's loopback, or an address in numbers and somebody listed.

    clients: how many are on the list.
    """
    if not re.fullmatch(f"tcp://{HOST_AND_PORT}", endpoint):
        example = f"tcp://{endpoint}" if re.fullmatch(HOST_AND_PORT, endpoint) else "tcp://HOST:PORT"
        raise ServeError(f"'{endpoint}' is no address: write {example}.")
    try:
        host = urlsplit(endpoint).hostname
        loopback = host == "localhost" or ipaddress.ip_address(host or "").is_loopback
        in_numbers = True
    except ValueError:
        loopback = in_numbers = False
    if clients and not in_numbers:
        raise ServeError(f"The address '{endpoint}' is not in numbers: write one of this machine's, or 0.0.0.0 for all.")
    if not (loopback or clients):
        data = shlex.quote(str(data_folder))
        raise ServeError(
            f"The address '{endpoint}' is not one of this machine alone, and without a list of allowed clients the backend "
            "listens on loopback only: use tcp://127.0.0.1:0 or a fixed port instead of 0, or list clients first "
            f"(`beyondscene keygen --data {data} --endpoint tcp://HOST:PORT`, "
            f"`beyondscene client add NAME --data {data} -o FILE`) and write the address as numbers."
        )


def check_names(folders: Sequence[Path]) -> None:
    """Raise ServeError for a path that no message can carry."""
    for folder in folders:
        try:
            str(folder).encode()
        except UnicodeEncodeError as error:
            raise ServeError(f"The name of the folder {str(folder)!a} is not UTF-8: rename it, or choose another.") from error


def check_endpoint(endpoint: str) -> None:
    """Raise ServeError unless clients can connect to `endpoint`."""
    if not is_reachable(endpoint) or urlsplit(endpoint).hostname in ("0.0.0.0", "::", "*"):
        raise ServeError(f"Clients cannot connect to '{endpoint}': write tcp://HOST:PORT as they see it.")
