"""Whom the scene shows, found once for all panels and buttons of a redraw, and anew after any edit."""

import time

import bpy
from bpy.app.handlers import persistent

from .. import callbacks
from .people import Person, find_people

FRESH_S = 0.2  # by which a redraw is over
WHO = ("SCENE", "COLLECTION", "OBJECT")  # the data by which it is told who is there

_found: dict[int, tuple[list[Person], float]] = {}  # whom, and when, by the address of the view layer


def find_shown(view_layer: bpy.types.ViewLayer) -> list[Person]:
    """As find_people. Found lately will do, where nothing was edited since."""
    found = _found.get(view_layer.as_pointer())
    if found is None or is_edited(view_layer) or time.monotonic() - found[1] > FRESH_S:
        found = _found[view_layer.as_pointer()] = find_people(view_layer), time.monotonic()
    return found[0]


def is_edited(view_layer: bpy.types.ViewLayer) -> bool:
    """Whether there was an edit that Blender has not evaluated yet, and so has told no handler."""
    return view_layer.depsgraph is None or any(view_layer.depsgraph.id_type_updated(kind) for kind in WHO)


@persistent
def forget(*_: object) -> None:
    """After an edit or another frame, and where the data may be other data by now."""
    _found.clear()


def handlers() -> list[callbacks.Handler]:
    lists = bpy.app.handlers
    changes = (lists.depsgraph_update_post, lists.frame_change_post, lists.undo_post, lists.redo_post, lists.load_post)
    return [(one, forget) for one in changes]


def register() -> None:
    callbacks.add(handlers())


def unregister() -> None:
    callbacks.remove(handlers())
    forget()
