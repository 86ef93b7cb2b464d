"""A progress bar on the terminal for whoever watches a picture being made."""

from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...protocol import Stage

WORDS: dict[Stage, str] = {
    "load": "loading the models",
    "instances": "drawing each person",
    "composite": "placing the people",
    "inpaint": "drawing the background",
    "tone": "matching the tone",
    "enlarge": "enlarging",
    "decode": "decoding",
    "write": "writing the file",
}


class Bar:
    """A Watcher for the command line; nothing stops it but Ctrl-C."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, transient=True)
        self.task = self.bar.add_task("starting", total=1.0)

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def progress(
        self,
        stage: Stage,
        *,
        level: int = 0,
        levels: int = 0,
        step: int = 0,
        steps: int = 0,
        fraction: float = 0.0,
        label: str = "",
    ) -> None:
        words = (
            WORDS[stage] + (f", level {level} of {levels}" if level else "") + (f", step {step} of {steps}" if steps else "")
        )
        self.bar.update(self.task, description=label or words, completed=fraction)

    def preview(self, image: np.ndarray) -> None:
        pass

    def check(self) -> None:
        pass
