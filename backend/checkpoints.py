"""Checkpoints of one picture as files in a folder."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..protocol.whole import whole_file
from .watch import Arrays

log = logging.getLogger(__name__)

INTERVAL_S = 5.0  # of work that a crash may cost, beside the step under way; a checkpoint takes a fraction of a second


class CheckpointFolder:
    """One `<key>.safetensors` per key; a file is whole or absent.

    The folder is the attempt's own and is never made here: it goes to the next attempt as soon as there is one, so that
    nothing more can be put.

    made_by: program, models, device and request; what others have kept is not taken up, since they may have computed otherwise.
    on_put: called when something new is on the disk.
    """

    def __init__(self, folder: Path, made_by: str, on_put: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._made_by = made_by
        self._on_put = on_put
        self._put_s = time.monotonic()

    def get(self, key: str) -> Arrays | None:
        path = self._path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="np") as file:
                if file.metadata() != self._label(key):
                    log.warning("the checkpoint %s is not '%s' made by %s: it is made anew", path, key, self._made_by)
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
        except (OSError, SafetensorError) as error:
            log.warning("the checkpoint %s cannot be read (%s): it is made anew", path, error)
            return None

    def put(self, key: str, arrays: Arrays) -> None:
        path = self._path(key)
        dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        try:
            with whole_file(path) as partial:
                save_file(dense, partial, self._label(key))
        except (OSError, SafetensorError) as error:  # a full disk, or an attempt that was given up
            log.warning("the checkpoint %s could not be written: %s", path, error)
        else:
            self._on_put()
        self._put_s = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._put_s >= INTERVAL_S

    def _label(self, key: str) -> dict[str, str]:
        """What a file says of itself, as it may have been put in another's place."""
        return {"key": key, "made_by": self._made_by}

    def _path(self, key: str) -> Path:
        return self._folder / f"{key.replace(' ', '-')}.safetensors"
