"""Clocks that jump and machines that sleep: nobody is given up for it."""

import ast
from itertools import pairwise
from pathlib import Path

from beyondscene import backend
from beyondscene.backend.gateway.clock import LONGEST_TURN_S, Clock
from beyondscene.backend.gateway.settings import ServeSettings

DAY_S = 86400.0


def test_neither_a_day_nor_ten_minutes_of_sleep_pass() -> None:
    times = [100.0]
    clock = Clock(lambda: times[-1])
    told = [clock.now()]
    for step in (0.05, DAY_S, 0.05, -DAY_S, 0.05, 600.0, 0.05):
        times.append(times[-1] + step)
        told.append(clock.now())
    assert told == sorted(told)
    assert told[-1] - told[0] < 0.05 * 4 + 2 * LONGEST_TURN_S + 1e-6
    shortest = min(ServeSettings(data_folder=Path(), ready_file=Path()).worker_silence_s, 10.0)
    assert max(b - a for a, b in pairwise(told)) < shortest  # so that nobody is given up after one


def test_the_clock_on_the_wall_decides_nothing() -> None:
    """It is set by hand and by networks, so nothing that serves asks it for the time."""
    folder, asks = Path(backend.__path__[0]), {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
    for path in (*(folder / "gateway").glob("*.py"), *(folder / f"{name}.py" for name in ("worker", "line", "checkpoints"))):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in asks), f"{path}:{node.lineno}"
