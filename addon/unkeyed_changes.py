"""What an artist has changed and not keyed yet: a change of frame sets it back to its curves, and this brings it back."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import bpy

Channel = tuple[bpy.types.ID, str]  # whose, and its path


@contextmanager
def kept() -> Iterator[None]:
    """Whatever frames the scene is set to inside: at its own again, each property that has curves has the value from before."""
    before = dict(gather_values())
    try:
        yield
    finally:
        for channel, value in gather_values():
            if value != before.get(channel, value):
                with suppress(AttributeError, TypeError):  # locked, or of a library
                    write(channel, before[channel])


def gather_values() -> Iterator[tuple[Channel, Any]]:
    """Each property with curves once, and its value; an array as a tuple."""
    for thing in animated_data():
        for path in {curve.data_path for curve in curves_of(thing.animation_data)}:
            with suppress(ValueError):  # what it moved is gone
                value = thing.path_resolve(path)
                yield (thing, path), tuple(value) if hasattr(value, "__len__") and not isinstance(value, str) else value


def write(channel: Channel, value: Any) -> None:
    thing, path = channel
    if path.endswith('"]'):  # a property of the artist's own
        place, _, name = path.removesuffix('"]').rpartition('["')
        (thing.path_resolve(place) if place else thing)[bpy.utils.unescape_identifier(name)] = value
        thing.update_tag()  # which Blender leaves to whoever writes such a property
    else:
        place, _, name = path.rpartition(".")
        setattr(thing.path_resolve(place) if place else thing, name, value)


def animated_data() -> Iterator[Any]:
    for kind in (prop.identifier for prop in bpy.data.bl_rna.properties if prop.type == "COLLECTION"):
        for thing in getattr(bpy.data, kind):
            yield from (one for one in (thing, getattr(thing, "node_tree", None)) if getattr(one, "animation_data", None))


def curves_of(animation: Any) -> Iterator[Any]:
    for user in (animation, *strips_in(animation.nla_tracks)):
        slot = getattr(user, "action_slot", None)  # from Blender 4.4 on
        if slot is not None:
            bags = (strip.channelbag(slot) for layer in user.action.layers for strip in layer.strips)
            yield from (curve for bag in bags if bag for curve in bag.fcurves)
        elif user.action is not None and hasattr(user.action, "fcurves"):
            yield from user.action.fcurves


def strips_in(holders: Iterable[Any]) -> Iterator[Any]:
    """Those of tracks, with those of meta strips at any depth."""
    for strip in (strip for holder in holders for strip in holder.strips):
        yield strip
        yield from strips_in([strip])
