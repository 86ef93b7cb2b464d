"""Blocks that are freed are taken again without the system clearing them, until they are given back."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import psutil, torch
from beyondscene.backend.models.host_memory import give_back_freed_memory, reuse_freed_memory

if sys.argv[1] == "reused":
    reuse_freed_memory(torch.device("cpu"))
resident = lambda: psutil.Process().memory_info().rss
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(4):
        torch.ones(16 * 2**20).add(1)

for _ in range(4):  # until the heap has found its size
    work()
before = faults()
work()
print(faults() - before)
before = resident()
give_back_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_taken_again_and_given_back() -> None:
    told = {}
    for how in ("as it is", "reused"):
        ran = subprocess.run([sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True)
        told[how] = [int(line) for line in ran.stdout.splitlines()]
    assert told["reused"][0] < told["as it is"][0] / 4  # pages that the system had to clear; the heap may grow by a block
    assert told["reused"][1] > 50 * 2**20 > told["as it is"][1]
