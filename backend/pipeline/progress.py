"""How far a picture is, and how long each stage took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ...protocol import Stage, StageTime
from ..watch import Watcher


class Progress:
    """Counts network evaluations against the number expected, and stops the work where the watcher says so."""

    def __init__(self, watcher: Watcher, levels: int, expected_evaluations: int) -> None:
        self.watcher = watcher
        self.levels = levels
        self.expected_evaluations = max(1, expected_evaluations)
        self.evaluations = 0
        self.fraction = 0.0
        self.times: list[StageTime] = []
        self._now: tuple[Stage, int, int] = ("load", 0, 0)
        self._step = 0

    @contextmanager
    def stage(self, stage: Stage, level: int = 0, steps: int = 0) -> Iterator[None]:
        """Everything inside belongs to this stage; its time is kept."""
        self._now = (stage, level, steps)
        self._step = 0
        self._tell()
        start = time.perf_counter()
        yield
        self.times.append(StageTime(stage=stage, level=level, seconds=time.perf_counter() - start))

    def step(self, evaluations: int) -> None:
        """One step of the stage is done; it cost so many evaluations of the network. Raises Stopped on a cancel."""
        self.evaluations += evaluations
        self._step += 1
        self._tell()

    def preview(self, image: np.ndarray) -> None:
        """uint8 (H, W, 3)."""
        self.watcher.preview(image)

    def _tell(self) -> None:
        self.watcher.check()
        stage, level, steps = self._now
        # the expectation rests on the poses' boxes, so it may fall short; what remains is writing the file
        self.fraction = max(self.fraction, min(0.98, 0.98 * self.evaluations / self.expected_evaluations))
        self.watcher.progress(stage, level=level, levels=self.levels, step=self._step, steps=steps, fraction=self.fraction)
