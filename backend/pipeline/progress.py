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
    """Counts the work that is done against what is expected, in network evaluations, and stops it where the watcher says so."""

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

    def part(self, evaluations: float) -> Callable[[float], None]:
        """For the autoencoder's work on a canvas, which takes about as long as so many evaluations: to be told the share of it
        that is done, 0 to 1."""
        before = self.painted

        def tell(share: float) -> None:
            self.painted = before + share * evaluations
            self._tell()

        return tell

    def once(self, key: str, make: Callable[P, np.ndarray], *args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        """The image that an earlier attempt has kept under `key`; else `make(...)`, which is kept there."""
        kept = self.checkpoints.get(key)
        if kept is None:
            image = make(*args, **kwargs)
            self.checkpoints.put(key, {"image": image} | self._counts())
            return image
        self._recall(kept)
        return kept["image"]

    def resume(self) -> tuple[int, Arrays]:
        """How many steps of this stage an earlier attempt has done, and what it kept after the last of them."""
        kept = self.checkpoints.get(self._key)
        if kept is None:
            return 0, {}
        self._step = int(kept.pop("steps"))
        self._recall(kept)
        self._tell()
        return self._step, kept

    def checkpoint(self, make: Callable[[], Arrays]) -> None:
        """Keep what the next step needs, where it is time to or where the stage's last step is done."""
        if self.checkpoints.due() or self._step == self._now[2]:
            self.checkpoints.put(self._key, make() | {"steps": np.array(self._step)} | self._counts())

    def preview(self, image: np.ndarray) -> None:
        """uint8 (H, W, 3)."""
        self.watcher.preview(image)

    def _counts(self) -> Arrays:
        return {"evaluations": np.array(self.evaluations), "painted": np.array(self.painted)}

    def _recall(self, kept: Arrays) -> None:
        """Take what `_counts` had put into `kept`."""
        self.evaluations, self.painted = int(kept.pop("evaluations")), float(kept.pop("painted", np.array(0.0)))

    @property
    def _key(self) -> str:
        stage, level, _ = self._now
        return f"steps {stage} {level}"

    def _tell(self) -> None:
        self.watcher.check()
        stage, level, steps = self._now
        # the expectation rests on the poses' boxes, so it may fall short; what remains is writing the file
        self.fraction = max(self.fraction, min(0.98, 0.98 * (self.evaluations + self.painted) / self.expected_evaluations))
        self.watcher.progress(
            Headway(stage=stage, level=level, levels=self.levels, step=self._step, steps=steps, fraction=self.fraction)
        )
