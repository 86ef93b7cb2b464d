"""What Blender is to call when something happens: put into its lists, and taken out again."""

from collections.abc import Iterable
from typing import Any

Handler = tuple[list[Any], Any]  # one of the lists of bpy.app.handlers, and what belongs in it


def add(handlers: Iterable[Handler]) -> None:
    for callbacks, callback in handlers:
        callbacks.append(callback)


def remove(handlers: Iterable[Handler]) -> None:
    for callbacks, callback in handlers:
        if callback in callbacks:
            callbacks.remove(callback)
