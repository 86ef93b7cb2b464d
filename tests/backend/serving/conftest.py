"""Gateways and connections that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .talk import PATIENCE_S, Running, Talk

Start = Callable[..., Running]
Connect = Callable[..., Talk]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways, with changed settings or on the folder of an earlier one if wished, and ends them after the test."""
    started: list[Running] = []

    def start_one(again: Running | None = None, **settings: Any) -> Running:
        folder = again.folder if again else tmp_path / f"gateway-{len(started)}"
        folder.mkdir(exist_ok=True)
        started.append(Running(folder, **settings))
        return started[-1]

    yield start_one
    for one in started:
        one.process.terminate()
    for one in started:
        one.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections, greeted unless wished otherwise, and closes them after the test."""
    opened: list[Talk] = []

    def connect_one(gateway: Running, *, greet: bool = True, **options: Any) -> Talk:
        opened.append(Talk(gateway.connection(), **options))
        if greet:
            opened[-1].greet()
        return opened[-1]

    yield connect_one
    for one in opened:
        one.close()
