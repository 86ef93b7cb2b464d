"""What the panel says went wrong, and what that is about."""

import sys
import traceback
from typing import Literal, NamedTuple, Self

Kind = Literal["scene", "backend", "picture", "fault"]


class Problem(NamedTuple):
    """kind: `scene`, which cannot be rendered as it is; `backend`, of which none can be had, or which was lost;
    `picture`, of one that was asked for; `fault`, an error of our own.

    text: one sentence with the next step. trace: of a fault, where it was.
    """

    kind: Kind
    text: str
    trace: str = ""

    @classmethod
    def fault(cls, doing: str, error: Exception) -> Self:
        """Call it where `error` is handled. doing: begins the sentence."""
        what = f"{type(error).__name__}: {error}"
        text = f"{doing} failed by a fault of BeyondScene ({what}): report it with Copy Diagnostics."
        return cls("fault", text, traceback.format_exc())

    def print_trace(self) -> None:
        print(self.trace, file=sys.stderr)
