"""LoRAs that the artist lists, for the picture or for one person: kept in the .blend, offered from what the backend has."""

# Blender reads properties from annotations that are calls.
# pyright: reportInvalidTypeForm=false

from collections.abc import Iterable
from typing import Any

import bpy
import msgspec
from bpy.props import FloatProperty, IntProperty, StringProperty

from ..protocol import Lora
from . import session
from .exporters.errors import ExportError
from .overrides import OfOwner

Result = set[str]

LIMIT = 8  # of one list, as in the protocol


class BEYONDSCENE_PG_lora(bpy.types.PropertyGroup):
    """One row; an empty name is none."""

    name: StringProperty(
        name="LoRA",
        description="Name of a file in one of the backend's folders of LoRAs, without its suffix",
        search=lambda self, context, text: known_loras(context.scene),
        search_options={"SUGGESTION"},
        override={"LIBRARY_OVERRIDABLE"},
    )
    scale: FloatProperty(
        name="Scale",
        description="1: as strong as it was trained for; 0: not at all",
        default=1.0,
        min=-10,
        max=10,
        soft_min=0,
        soft_max=2,
        step=5,
        override={"LIBRARY_OVERRIDABLE"},
    )


class BEYONDSCENE_OT_add_lora(OfOwner, bpy.types.Operator):
    """Add a row for a LoRA: a style for the whole picture, or a likeness for one person"""

    bl_idname = "beyondscene.add_lora"
    bl_label = "Add LoRA"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        full = len(cls.owner(context).beyondscene.loras) >= LIMIT
        return super().obstacle(context) or (f"There are {LIMIT}, which is the limit: remove one first" if full else "")

    def execute(self, context: bpy.types.Context) -> Result:
        self.owner(context).beyondscene.loras.add()
        return {"FINISHED"}


class BEYONDSCENE_OT_remove_lora(OfOwner, bpy.types.Operator):
    """Remove this LoRA from the list"""

    bl_idname = "beyondscene.remove_lora"
    bl_label = "Remove LoRA"

    index: IntProperty()

    def execute(self, context: bpy.types.Context) -> Result:
        rows = self.owner(context).beyondscene.loras
        try:
            rows.remove(self.index)
        except TypeError:  # of the library of an override, whose rows Blender keeps
            rows[self.index].scale = 0
            self.report({"INFO"}, f"'{rows[self.index].name}' stays, as its library has it, and is off by its scale of 0")
        return {"FINISHED"}


def known_loras(scene: bpy.types.Scene) -> list[str]:
    """What the connected backend has for the scene's models."""
    info = session.current().model_info(scene.beyondscene.models)
    return list(info.loras) if info else []


def gather_loras(rows: Any, whose: str) -> tuple[Lora, ...]:
    """What a request says of `rows` that are not off. Raises ExportError for a name that no file can have."""
    loras = []
    for row in rows:
        if row.name.strip() and row.scale:
            try:
                loras.append(msgspec.convert({"name": row.name.strip(), "scale": float(f"{row.scale:.6g}")}, Lora))
            except msgspec.ValidationError as error:
                raise ExportError(
                    f"The LoRA '{row.name}' of {whose} cannot be the name of a file of LoRAs: choose one of those offered, or "
                    "rename the file to letters, digits, spaces, dots, dashes and underscores, and leave out its suffix here."
                ) from error
    return tuple(loras)


def write_loras(rows: Any, loras: Iterable[Lora]) -> None:
    """Let `rows` say `loras`; of an override those of its library stay, and are off where they are none of these."""
    rows.clear()
    left = list(loras)
    for row in rows:
        same = next((one for one in left if one.name == row.name), None)
        row.scale = same.scale if same else 0
        left = [one for one in left if one is not same]
    for lora in left:
        row = rows.add()
        row.name, row.scale = lora.name, lora.scale


def draw_loras(layout: bpy.types.UILayout, owner: bpy.types.ID, known: Iterable[str]) -> None:
    """A row for each, red where the backend lacks it. owner: scene or object."""
    if not len(owner.beyondscene.loras):
        return  # an empty column would take room
    column = layout.column(align=True)
    column.context_pointer_set("beyondscene_owner", owner)
    override = owner.override_library
    theirs = override.reference.beyondscene.loras if override and override.reference else ()
    kept = {one.name for one in theirs if one.name}  # by whose names Blender tells the rows
    for index, own in enumerate(owner.beyondscene.loras):
        row = column.row(align=True)
        name = row.row(align=True)
        name.enabled = own.name not in kept
        name.alert = bool(own.name and known) and own.name not in known
        name.prop(own, "name", text="", placeholder="LoRA")
        row.prop(own, "scale", text="")
        row.operator(BEYONDSCENE_OT_remove_lora.bl_idname, text="", icon="X").index = index


def draw_add_lora(layout: bpy.types.UILayout, owner: bpy.types.ID, text: str = "Add LoRA") -> None:
    """The button for another row."""
    row = layout.row()
    row.context_pointer_set("beyondscene_owner", owner)
    row.operator(BEYONDSCENE_OT_add_lora.bl_idname, text=text, icon="ADD")


register, unregister = bpy.utils.register_classes_factory((BEYONDSCENE_OT_add_lora, BEYONDSCENE_OT_remove_lora))
