"""How far a picture is, for whoever looks on: a bar on a terminal, plain lines in the log of a farm."""

import os
import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...protocol import STAGES
from ..watch import Headway, NoWatcher

LINE_S = 30.0  # the longest silence of Lines


class Bar(NoWatcher):
    """A Watcher for a terminal; nothing stops it but Ctrl-C."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("starting", total=1.0)

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def progress(self, headway: Headway) -> None:
        self.bar.update(self.task, description=describe(headway), completed=headway.fraction)


class Lines(NoWatcher):
    """A Watcher that writes a line for each stage, and one whenever there was none for LINE_S, also where nothing gets on:

    beyondscene: NAME: 42%, enlarging, level 1 of 2, step 3 of 35, 2 min left
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._said_s = time.monotonic()
        self._from = self._said_s, 0.0  # when the pace began, and how far the picture was then
        self._stage: tuple[str, int] = ("", 0)
        self._words, self._fraction = "waiting", 0.0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> "Lines":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self, headway: Headway) -> None:
        with self._lock:
            if not self._fraction:  # loading and waiting say nothing about the pace
                self._from = time.monotonic(), headway.fraction
            self._words, self._fraction = describe(headway), headway.fraction
            if (headway.stage, headway.level) != self._stage:
                self._stage = headway.stage, headway.level
                self._say()

    def _beat(self) -> None:
        while not self._ended.wait(max(0.0, self._said_s + LINE_S - time.monotonic())):
            with self._lock:
                if time.monotonic() - self._said_s >= LINE_S:
                    self._say()

    def _say(self) -> None:
        self._said_s = time.monotonic()
        left, (from_s, from_fraction) = "", self._from
        if self._fraction > from_fraction:
            left_s = (self._said_s - from_s) * (1 - self._fraction) / (self._fraction - from_fraction)
            left = f", {tell_duration(left_s)} left"
        line = f"beyondscene: {self._name}: {self._fraction:.0%}, {self._words}{left}"
        self._console.print(line, soft_wrap=True)


def tell_duration(seconds: float) -> str:
    """Such as "45 s", "12 min" or "3 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class LogConsole(Console):
    """A console whose reader may leave: rich itself would end the command there and then, as if by a fault."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console(*, quiet: bool = False) -> Console:
    """Standard error, where names are told as they are: brackets in them are no markup, and a word between colons no emoji.

    It is a terminal where a bar can be drawn: for rich, FORCE_COLOR would make one of any log.
    """
    terminal = bool(sys.stderr) and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return LogConsole(stderr=True, force_terminal=terminal, quiet=quiet, markup=False, emoji=False, highlight=False)


def show_progress(console: Console, name: str) -> Bar | Lines:
    """name: of what is made, for the lines."""
    return Bar(console) if console.is_terminal else Lines(console, name)


def describe(headway: Headway) -> str:
    words = STAGES[headway.stage] + (f", level {headway.level} of {headway.levels}" if headway.level else "")
    return words + (f", step {headway.step} of {headway.steps}" if headway.steps else "")
