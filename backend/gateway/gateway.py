"""The gateway's parts and its loop: one thread, no torch, nothing that blocks."""

import zmq

from .admission import Admission
from .allow_list import AllowList
from .answers import Answers
from .clients import Clients
from .clock import now
from .counts import Counts
from .dispatch import Dispatch
from .files import JobFiles, Quota
from .jobs import Jobs
from .ledger import Ledger
from .live import Live
from .settings import FindModelSets, ServeSettings
from .sockets import Door, receive
from .workers import Workers

TURN_MS = 50  # the longest wait of the loop


class Gateway:
    """Clients on one side, workers on the other, the jobs between them."""

    def __init__(
        self,
        settings: ServeSettings,
        app_version: str,
        find_model_sets: FindModelSets,
        ledger: Ledger,
        door: Door,
        allow_list: AllowList,
        socket: zmq.Socket[bytes],
        worker_socket: zmq.Socket[bytes],
        workers: Workers,
        counts: Counts,
    ) -> None:
        self.busy_s = now()  # when last there was a job, or a word from a client
        self._counts = counts
        self._door = door
        self._socket = socket
        self._worker_socket = worker_socket
        self._jobs = jobs = Jobs(ledger)
        live, files = Live(), JobFiles(settings.data_folder)
        quota = Quota(ledger, files, settings.results_limit_bytes)
        admission = Admission(settings, find_model_sets, quota)
        self._clients = Clients(socket, ledger, live, files, counts)
        self._dispatch = Dispatch(settings, admission, jobs, live, files, quota, workers, counts)
        self._answers = Answers(settings, app_version, allow_list, admission, jobs, self._clients, live, self._dispatch, counts)

    def turn(self) -> None:
        """One round of the loop."""
        # 1. Wait until somebody has something to say.
        sockets = (self._door.socket, self._socket, self._worker_socket)
        zmq.zmq_poll([(socket, zmq.POLLIN) for socket in sockets], TURN_MS)
        # 2. Who may come in, and what clients ask for.
        self._answers.refresh()
        self._door.answer()
        self._counts.turned_away = self._door.turned_away
        for message in receive(self._socket):
            self.busy_s = now()
            self._answers.hear(message, self.busy_s)
        # 3. What the workers report, their processes, and the next jobs for them.
        self._dispatch.turn(now())
        if self._jobs.ledger.live():
            self.busy_s = now()
        # 4. Tell the clients, each as fast as it reads.
        self._clients.deliver(now())
