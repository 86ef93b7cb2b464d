"""What a gateway counts about itself, for its metrics and its last log line. Plain numbers: any thread may read them."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counts:
    """Since the start of the process, unless the name says otherwise."""

    messages: Counter[str] = field(default_factory=Counter)  # of clients, by kind
    malformed: int = 0  # messages of clients that were no messages
    refused: int = 0  # requests
    turned_away: int = 0  # handshakes without a listed key
    ended: Counter[str] = field(default_factory=Counter)  # jobs, by ending
    attempts: Counter[str] = field(default_factory=Counter)  # by number of the worker
    workers_lost: Counter[str] = field(default_factory=Counter)
    ready: dict[str, int] = field(default_factory=dict)  # now: 1 for a worker that is ready
    sent_bytes: int = 0  # of pictures
    clients: int = 0  # now
    waiting: int = 0  # jobs, now
    running: int = 0
    paused: int = 0
    free_bytes: int = 0  # on the disk of the data folder, now
