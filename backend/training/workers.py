"""Processes that draw beside the one that trains. Never imports torch, for which they need not wait."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end with this one, however that ends, and at once where it is interrupted.

    They are spawned, not forked: this process may already run torch threads.
    """
    context, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    with ProcessPoolExecutor(processes, mp_context=context, initializer=end_with_parent) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # else its thread trips over what is cancelled already
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()
            raise


def end_with_parent() -> None:
    """Let this process end as soon as its parent is gone. Ctrl-C, which all processes are told, is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait_for_parent, daemon=True).start()


def wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
