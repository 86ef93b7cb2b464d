"""What panels and buttons say of the people of a scene: found once for all of a redraw, and anew after any edit."""

import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

import bpy
from bpy.app.handlers import persistent

from .. import callbacks
from .people import Person, find_people, is_anybody_drawn

FRESH_S = 0.2  # by which a redraw is over
SHARE = 20  # what takes long to find stays fresh so many times as long
WHO = ("SCENE", "COLLECTION", "OBJECT")  # the data by which it is told who is there

Found = TypeVar("Found")

_found: dict[Hashable, tuple[Any, float]] = {}  # and until when, by the address of the view layer and what was looked for
_drawn: dict[int, bool] = {}  # see note_drawn, by the address of who describes them
_drawn_until_s = 0.0


def find_shown(view_layer: bpy.types.ViewLayer) -> list[Person]:
    """As find_people. Found lately will do, where nothing was edited since."""
    return find_once(view_layer, "people", partial(find_people, view_layer))


def find_shown_enabled(view_layer: bpy.types.ViewLayer) -> list[Person]:
    """Those of find_shown who are switched on."""
    return [person for person in find_shown(view_layer) if person.enabled]


def note_drawn(people: Sequence[Person]) -> None:
    """Tell is_drawn of `people`, for whom a panel is about to draw a checkbox each."""
    global _drawn_until_s
    _drawn.clear()
    for person in people:
        address = person.described.as_pointer()
        _drawn[address] = _drawn.get(address, False) or person.enabled
    _drawn_until_s = time.monotonic() + FRESH_S


def is_drawn(own: bpy.types.PropertyGroup) -> bool:
    """Whether anybody is drawn whom the `beyondscene` of an object describes. Looks for nobody: Blender asks in other threads,
    too, while it saves an override.
    """
    thing = own.id_data
    noted = _drawn.get(thing.as_pointer()) if time.monotonic() < _drawn_until_s else None
    return is_anybody_drawn(thing) if noted is None else noted


def switch(own: bpy.types.PropertyGroup, on: bool) -> None:
    own.enabled = on
    _drawn.clear()


def find_once(view_layer: bpy.types.ViewLayer, what: Hashable, find: Callable[[], Found]) -> Found:
    """What `find` returns of `what` in the view layer, or has returned lately where nothing was edited since."""
    place, began_s = (view_layer.as_pointer(), what), time.monotonic()
    found, until_s = _found.get(place, (None, 0.0))
    if began_s > until_s or is_edited(view_layer):
        found, now_s = find(), time.monotonic()
        _found[place] = found, now_s + max(FRESH_S, SHARE * (now_s - began_s))
    return found


def is_edited(view_layer: bpy.types.ViewLayer) -> bool:
    """Whether there was an edit that Blender has not evaluated yet, and so has told no handler."""
    return view_layer.depsgraph is None or any(view_layer.depsgraph.id_type_updated(kind) for kind in WHO)


@persistent
def forget(*_: object) -> None:
    """After an edit or another frame, and where the data may be other data by now."""
    _found.clear()
    _drawn.clear()


def handlers() -> list[callbacks.Handler]:
    lists = bpy.app.handlers
    changes = (lists.depsgraph_update_post, lists.frame_change_post, lists.undo_post, lists.redo_post, lists.load_post)
    return [(one, forget) for one in changes]


def register() -> None:
    callbacks.add(handlers())


def unregister() -> None:
    callbacks.remove(handlers())
    forget()
