"""What is said here of a linked person, kept when the file is saved.

Blender compares an override with what it overrides, property by property, and saves the differences. A group that nothing has
read yet is not there to be compared: then the whole group is the difference, which Blender cannot put back.
"""

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import callbacks
from .obstacles import SaysWhyNot


def is_editable(thing: bpy.types.ID) -> bool:
    """Whether the fields of `thing` can be edited here: not where it is linked, or overridden only as a part of others."""
    override = thing.override_library
    return thing.is_editable and not (override and override.is_system_override)


class OfOwner(SaysWhyNot):
    """An operator on what is said of `context.beyondscene_owner`, or of the scene where a button set none."""

    bl_options = {"UNDO", "INTERNAL"}

    @staticmethod
    def owner(context: bpy.types.Context) -> Any:
        return getattr(context, "beyondscene_owner", None) or context.scene

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        owner = cls.owner(context)
        return "" if is_editable(owner) else f"'{owner.name}' is linked from another file: make a library override of it first"


def make_comparable(thing: bpy.types.Object) -> None:
    """Make every group of `thing` and of what it overrides; nothing where it overrides nothing, or nothing is said of it."""
    override = thing.override_library
    if override and override.reference and thing.is_property_set("beyondscene"):
        for one in (thing, override.reference):
            read_groups(one.beyondscene)


def read_groups(group: Any) -> None:
    """Read each group in `group`, at any depth, by which Blender makes those that were not there."""
    for prop in group.bl_rna.properties:
        if prop.type == "POINTER" and prop.identifier != "rna_type":
            inner = getattr(group, prop.identifier)
            if isinstance(inner, bpy.types.PropertyGroup):
                read_groups(inner)


@persistent
def make_all_comparable(*_: object) -> None:
    """Before a file is saved."""
    for thing in bpy.data.objects:
        make_comparable(thing)


def handlers() -> list[callbacks.Handler]:
    return [(bpy.app.handlers.save_pre, make_all_comparable)]


def register() -> None:
    callbacks.add(handlers())


def unregister() -> None:
    callbacks.remove(handlers())
