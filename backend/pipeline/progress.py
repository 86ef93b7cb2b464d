"""How far a picture is, how long each stage took, and what of it is kept for another attempt."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

import numpy as np

from ...protocol import Stage, StageTime
from ..watch import Arrays, Checkpoints, Headway, NoCheckpoints, Watcher

P = ParamSpec("P")


class Progress:
    """Counts the work that is done against what is expected, in network evaluations, and stops it where the watcher says so.

    remarks: what of the picture is not as it was asked for, a sentence each.
    """

    def __init__(
        self, watcher: Watcher, levels: int, expected_evaluations: float, checkpoints: Checkpoints | None = None
    ) -> None:
        self.watcher = watcher
        self.checkpoints = checkpoints or NoCheckpoints()
        self.levels = levels
        self.expected_evaluations = max(1, expected_evaluations)
        self.evaluations = 0
        self.painted = 0.0  # by the autoencoder, as so many evaluations
        self.fraction = 0.0
        self.times: list[StageTime] = []
        self.remarks: list[str] = []

    @contextmanager
    def stage(self, stage: Stage, level: int = 0, steps: int = 0) -> Iterator["StageProgress"]:
        """Everything inside belongs to this stage, which tells its own steps; its time is kept."""
        opened = StageProgress(self, stage, level, steps)
        opened.tell()
        start = time.perf_counter()
        yield opened
        self.times.append(StageTime(stage=stage, level=level, seconds=time.perf_counter() - start))

    def once(self, key: str, make: Callable[P, np.ndarray], *args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        """The image that an earlier attempt has kept under `key`; else `make(...)`, which is kept there."""
        kept = self.checkpoints.get(key)
        if kept is None:
            image = make(*args, **kwargs)
            self.checkpoints.put(key, {"image": image} | self.counts())
            return image
        self.recall(kept)
        return kept["image"]

    def preview(self, image: np.ndarray) -> None:
        """uint8 or uint16 (H, W, 3)."""
        self.watcher.preview(image)

    def counts(self) -> Arrays:
        """The work that is done, to be kept beside what came of it."""
        return {"evaluations": np.array(self.evaluations), "painted": np.array(self.painted)}

    def recall(self, kept: Arrays) -> None:
        """Take what `counts` had put into `kept`."""
        self.evaluations, self.painted = int(kept.pop("evaluations")), float(kept.pop("painted", np.array(0.0)))

    def tell(self, stage: Stage, level: int, step: int, steps: int) -> None:
        """To the watcher. Raises Stopped on a cancel."""
        self.watcher.check()
        # the expectation rests on the poses' boxes, so it may fall short; what remains is writing the file
        self.fraction = max(self.fraction, min(0.98, 0.98 * (self.evaluations + self.painted) / self.expected_evaluations))
        self.watcher.progress(
            Headway(stage=stage, level=level, levels=self.levels, step=step, steps=steps, fraction=self.fraction)
        )


class StageProgress:
    """How many of a stage's steps are done, and what is kept after them."""

    def __init__(self, picture: Progress, stage: Stage, level: int, steps: int) -> None:
        self._picture = picture
        self._stage: Stage = stage
        self._level, self._step, self._steps = level, 0, steps
        self._key = f"steps {stage} {level}"

    def step(self, evaluations: int) -> None:
        """One step is done; it cost so many evaluations of the network. Raises Stopped on a cancel."""
        self._picture.evaluations += evaluations
        self._step += 1
        self.tell()

    def part(self, evaluations: float) -> Callable[[float], None]:
        """For the autoencoder's work on a canvas, which takes about as long as so many evaluations: to be told the share of it
        that is done, 0 to 1."""
        before = self._picture.painted

        def tell(share: float) -> None:
            self._picture.painted = before + share * evaluations
            self.tell()

        return tell

    def resume(self) -> tuple[int, Arrays]:
        """How many steps an earlier attempt has done, and what it kept after the last of them."""
        kept = self._picture.checkpoints.get(self._key)
        if kept is None:
            return 0, {}
        self._step = int(kept.pop("steps"))
        self._picture.recall(kept)
        self.tell()
        return self._step, kept

    def checkpoint(self, make: Callable[[], Arrays]) -> None:
        """Keep what the next step needs, where it is time to or where the last step is done."""
        checkpoints = self._picture.checkpoints
        if checkpoints.due() or self._step == self._steps:
            checkpoints.put(self._key, make() | {"steps": np.array(self._step)} | self._picture.counts())

    def tell(self) -> None:
        """How many steps are done, to the watcher. Raises Stopped on a cancel."""
        self._picture.tell(self._stage, self._level, self._step, self._steps)
