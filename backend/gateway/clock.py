"""The time by which the gateway judges who has been silent for too long."""

import time
from collections.abc import Callable

LONGEST_TURN_S = 5.0  # of the gateway's loop; what is longer was no turn


class Clock:
    """Seconds that the gateway has been awake. It never jumps: neither when somebody sets the machine's clock, nor when the
    machine was asleep, which some systems' monotonic clocks count and after which nobody has had the time to say a word.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._last_s = read()
        self._awake_s = 0.0

    def now(self) -> float:
        """To be asked at every turn of the loop."""
        at_s = self._read()
        self._awake_s += min(max(0.0, at_s - self._last_s), LONGEST_TURN_S)
        self._last_s = at_s
        return self._awake_s


now = Clock().now  # of this process
