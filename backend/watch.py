"""What a renderer and the process around it promise each other. Needs neither torch nor sockets."""

from pathlib import Path
from typing import Protocol

import numpy as np
from msgspec import Struct

from ..protocol import RenderRequest, Stage, StageTime

PixelType = type[np.uint8] | type[np.uint16]  # of a picture; the largest number is white


class Stopped(Exception):  # noqa: N818  (no error: somebody wished it)
    """The job was cancelled. Let it pass through the renderer; nothing needs to be tidied up."""


class Headway(Struct, frozen=True, kw_only=True):
    """How far a picture is.

    level: 0 for the base image, then one per doubling, of `levels`. step: of `steps` in this stage and level.
    fraction: 0 to 1 of the whole job, never decreasing.
    """

    stage: Stage
    level: int = 0
    levels: int = 0
    step: int = 0
    steps: int = 0
    fraction: float = 0.0


class Watcher(Protocol):
    """Whoever looks on while a picture is made. All methods return at once; call them as often as you like."""

    def progress(self, headway: Headway) -> None:
        """Tell how far the picture is."""
        ...

    def preview(self, image: np.ndarray) -> None:
        """Show the picture so far: uint8 or uint16 (H, W, 3), RGB, any size. It is scaled down, and dropped where one was just
        sent."""
        ...

    def check(self) -> None:
        """Raise Stopped if the job was cancelled. Call it at every step, so that a cancel takes hold within one.

        That, or `progress`, is also the sign that the job gets on: one that gives none for long counts as stuck.
        """
        ...


class NoWatcher:
    """For a picture that nobody looks at before it is finished."""

    def progress(self, headway: Headway) -> None:
        pass

    def preview(self, image: np.ndarray) -> None:
        pass

    def check(self) -> None:
        pass


Arrays = dict[str, np.ndarray]


class Checkpoints(Protocol):
    """Where a picture's intermediate results are kept, so that it can go on from them in another process."""

    def get(self, key: str) -> Arrays | None:
        """What was last put under `key`, by this or an earlier attempt at the same picture."""
        ...

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep `arrays` in place of what was there. Where that cannot be done, the work goes on without."""
        ...

    def due(self) -> bool:
        """Whether so much time has passed since the last `put` that it is worth another one."""
        ...


class NoCheckpoints:
    """For a picture that is made in one go or not at all."""

    def get(self, key: str) -> Arrays | None:
        return None

    def put(self, key: str, arrays: Arrays) -> None:
        pass

    def due(self) -> bool:
        return False


class RenderResult(Struct, frozen=True, kw_only=True):
    """A picture that was written to a file."""

    width: int  # pixels
    height: int
    media_type: str = "image/png"
    size_bytes: int  # of the file
    digest: str  # BLAKE2b-256 of the file, hex (protocol.digest_of)
    times: tuple[StageTime, ...] = ()
    remarks: tuple[str, ...] = ()  # what of it is not as it was asked for, a sentence each


class RenderToFile(Protocol):
    """The pipeline as the worker process sees it."""

    def __call__(
        self, request: RenderRequest, arrays: Arrays, models: str, path: Path, watcher: Watcher, checkpoints: Checkpoints
    ) -> RenderResult:
        """Write the picture to `path`, whose suffix chooses the format, and tell about it once it is on the disk.

        arrays: by digest, as the masks of the request name them. models: the name of a model set, or its folder.
        checkpoints: of this very picture; with what they hold, the file is the same to the last byte.
        Raises Refusal (or a subclass) for what the user can put right, Stopped from
        `watcher.check()`, and lets everything else through.
        """
        ...
