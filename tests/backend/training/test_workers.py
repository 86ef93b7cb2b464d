"""The processes that draw never outlive the one that trains."""

import subprocess
import sys
import time

import psutil
import pytest

DRAW = """
import os, time
from beyondscene.backend.training.workers import worker_pool
with worker_pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60)
    for waiting in [pool.submit(time.sleep, 60) for _ in range(9)]:
        waiting.cancel()  # as `map` does when it is left
    {then}
"""


@pytest.mark.parametrize("then", ["time.sleep(60)", "raise KeyboardInterrupt"])
def test_processes_that_draw_end_with_the_one_that_trains(then: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", DRAW.format(then=then)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if "sleep" in then:
        parent.kill()  # as the system does where memory runs out
    _, errors = parent.communicate(timeout=20)
    assert b"Exception in thread" not in errors
    latest = time.monotonic() + 20
    while runs(worker):
        assert time.monotonic() < latest
        time.sleep(0.02)


def runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
