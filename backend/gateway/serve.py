"""Run a gateway from its start to its end: keys, sockets, logs, signals and the file that tells clients where it is."""

import logging
import os
import signal
import sqlite3
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import psutil
import zmq

from ...protocol import Refusal, read_connection, write_connection
from ...protocol.connection import is_open_to_others
from ..models.sets import find_model_sets
from ..signals import ending_signals
from ..version import app_version
from .allow_list import AllowList, list_path, read_list
from .clock import now
from .counts import Counts
from .gateway import Gateway
from .keys import keys_path, read_keys
from .ledger import Ledger
from .logs import start_log, stop_log
from .self_test import check_door
from .settings import FindModelSets, ServeError, ServeSettings, check_bind, check_devices, check_names, own_worker_command
from .sockets import Door, KeyPair, endpoint_of
from .supervisor import Supervisor
from .workers import Workers

log = logging.getLogger(__name__)

WATCH_PARENT_S = 1.0


def serve(settings: ServeSettings, find_model_sets: FindModelSets = find_model_sets) -> int:
    """Serve until a signal, the end of the parent or a long idle time; return the process's exit code.

    Call it on the main thread of a process of its own. Raises ServeError, or ModelSetError for a folder without a model
    set, before anything has started; later only where the disk gives out, or no worker can work as it is asked to.
    """
    raise_file_limit()
    check_names((settings.data_folder, *settings.model_folders))
    keys = read_keys(settings.data_folder)
    listed_clients = len(read_list(list_path(settings.data_folder)).clients) if keys else 0
    check_bind(settings.bind, listed_clients, settings.data_folder)
    check_devices(settings.devices)
    parent = watched_process(settings.parent_pid)
    log_folder = settings.data_folder / "log"
    make_folders(log_folder, settings.ready_file.parent)
    with ExitStack() as stack:
        handler = start_log(log_folder / "gateway.log")
        stack.callback(stop_log, handler)
        if keys and is_open_to_others(path := keys_path(settings.data_folder)):
            log.warning("the backend's keys in %s are open to other users: `chmod 600 '%s'`", path, path)
        ledger = Ledger(settings.data_folder / "ledger.sqlite")
        stack.callback(ledger.close)
        context = stack.enter_context(zmq.Context())
        door = Door(context)
        stack.callback(door.close)

        server, client = keys.pair if keys else KeyPair.new(), KeyPair.new()
        allow_list = AllowList(list_path(settings.data_folder), client.public)
        worker_keys: set[bytes] = set()  # each supervisor lists the key of its process
        socket, worker_socket = open_sockets(stack, door, settings, server, allow_list, worker_keys)
        if keys:
            warn_of_other_port(endpoint_of(socket), keys.endpoint)
        for bound, listed in ((socket, allow_list.keys), (worker_socket, worker_keys)):
            check_door(context, door, reachable(endpoint_of(bound)), server.public, listed)
        counts = Counts()
        if settings.metrics_port is not None:
            from .metrics import serve_metrics

            stack.callback(serve_metrics(settings.metrics_port, counts))
        command = settings.worker_command or own_worker_command()
        hire = partial(Supervisor, settings, command, worker_socket, server.public, worker_keys, log_folder)
        workers = Workers(settings.devices, worker_socket, hire)
        gateway = Gateway(
            settings, app_version(), find_model_sets, ledger, door, allow_list, socket, worker_socket, workers, counts
        )
        stack.callback(workers.stop)

        stop = StopSignal()
        stack.callback(stop.restore)
        connection = client.connection(reachable(endpoint_of(socket)), server.public.decode(), os.getpid())
        write_connection(settings.ready_file, connection)
        stack.callback(remove_connection, settings.ready_file)
        others = len(allow_list.keys) - 1
        log.info(
            "listening on %s for whoever started it%s", endpoint_of(socket), f" and {others} listed clients" if others else ""
        )
        run_until_told(gateway, settings, parent, stop)
        log.info("leaving; %d messages of clients were not understood", counts.malformed)
    return 0


def raise_file_limit() -> None:
    """Let this process open as many files as the system lets it: each connection is one, before anybody knows whose it is."""
    if os.name != "posix":  # elsewhere sockets do not count
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS names a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_folders(*folders: Path) -> None:
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServeError(f"The data folder or the place of the ready file cannot be made ({error}): choose another.") from error


def open_sockets(
    stack: ExitStack, door: Door, settings: ServeSettings, server: KeyPair, allow_list: AllowList, worker_keys: set[bytes]
) -> tuple[zmq.Socket, zmq.Socket]:
    """The clients' socket and the workers', which `stack` closes. Raises ServeError where the address is taken or none here."""
    try:
        socket = door.bind(settings.bind, "clients", server, allow_list.keys, settings.frame_limit_bytes)
    except zmq.ZMQError as error:
        raise ServeError(
            f"The address {settings.bind} cannot be used ({error}): choose one of this machine's, with a free port, or port 0."
        ) from error
    stack.callback(socket.close)
    worker_socket = door.bind("tcp://127.0.0.1:0", "workers", server, worker_keys, settings.frame_limit_bytes)
    stack.callback(worker_socket.close)
    return socket, worker_socket


def warn_of_other_port(bound: str, told: str) -> None:
    """told: where the clients' files say that the backend is. No refusal: a router may forward one port to another."""
    port = urlsplit(told).port
    if urlsplit(bound).port != port:
        words = "the backend listens on %s, but its clients' files say %s: unless that port is forwarded, serve with --bind %s"
        log.warning(words, bound, told, f"tcp://ADDRESS:{port}")


def run_until_told(gateway: Gateway, settings: ServeSettings, parent: psutil.Process | None, stop: "StopSignal") -> None:
    """Until a signal, the end of the parent or a long idle time. Raises ServeError where the disk gives out, or no
    worker can work as it is asked to."""
    parent_seen_s = now()
    while not stop.wished:
        try:
            gateway.turn()
        except (sqlite3.Error, OSError) as error:  # what is not on the disk is not so; the next start goes on from what is
            raise ServeError(
                f"The data folder {settings.data_folder} could not be written ({error}): make room on its disk and serve "
                "again; no accepted job is lost."
            ) from error
        if parent is not None and now() - parent_seen_s > WATCH_PARENT_S:
            parent_seen_s = now()
            if not is_running(parent):
                log.info("process %d, which started the backend, is gone", parent.pid)
                return
        if settings.idle_exit_s is not None and now() - gateway.busy_s > settings.idle_exit_s:
            log.info("nobody has asked for anything in %.0f s", settings.idle_exit_s)
            return


class StopSignal:
    """Turns the signals that ask a process to end into a wish to stop."""

    def __init__(self) -> None:
        self.wished = False
        self._before = {number: signal.signal(number, self._wish) for number in ending_signals()}

    def _wish(self, number: int, frame: FrameType | None) -> None:
        self.wished = True

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def reachable(endpoint: str) -> str:
    """Where whoever is on this machine finds a socket bound to `endpoint`."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def watched_process(pid: int | None) -> psutil.Process | None:
    """Raises ServeError if there is no such process."""
    try:
        return None if pid is None else psutil.Process(pid)
    except psutil.NoSuchProcess as error:
        raise ServeError(f"There is no process {pid} to serve for: name the one that starts the backend.") from error


def is_running(process: psutil.Process) -> bool:
    """Whether this very process lives: a later one with its number does not count, nor does a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except OSError:  # no more files can be opened, so nothing is known
        return True


def remove_connection(path: Path) -> None:
    """Remove the connection file unless another gateway has replaced it."""
    try:
        if read_connection(path).pid == os.getpid():
            path.unlink()
    except (OSError, Refusal):
        log.info("the connection file %s was gone already", path)
