"""How large and how good the picture becomes, from which seed and with which models, and what that takes."""

import bpy

from .. import images
from ..exporters import picture_size
from ..job import counted, describe_bytes, describe_seconds
from ..loras import draw_add_lora, draw_loras, known_loras
from ..operators import BEYONDSCENE_OT_snap_size, BEYONDSCENE_OT_take_quality
from ..planner import plan_of
from ..quality import CUSTOM, FIELDS, PRESETS, chosen_settings, describe_settings, snapped
from ..session import current
from .sidebar import Section, draw_sentence


class BEYONDSCENE_PT_picture(Section, bpy.types.Panel):
    bl_label = "Picture"
    bl_order = 3

    def draw(self, context: bpy.types.Context) -> None:
        layout, own = self.layout, context.scene.beyondscene
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(own, "use_own_size")
        column = layout.column(align=True)
        if own.use_own_size:
            column.prop(own, "width")
            column.prop(own, "height")
        width, height = picture_size(context.scene)
        size = f"{width} x {height} px" + ("" if own.use_own_size else ", from Output Properties")
        draw_sentence(column, context, size)
        legal = snapped(width), snapped(height)
        if legal != (width, height):
            row = column.row()
            row.alert = True
            row.operator(BEYONDSCENE_OT_snap_size.bl_idname, text=f"Use {legal[0]} x {legal[1]}", icon="ERROR")
        layout.prop(own, "quality")
        draw_quality(layout, context)
        row = layout.row(align=True)
        row.prop(own, "seed")
        row.prop(own, "lock_seed", text="", icon="LOCKED" if own.lock_seed else "UNLOCKED")
        layout.prop(own, "variations")
        layout.prop(own, "models")
        draw_loras(layout, context.scene, known_loras(context.scene))
        draw_add_lora(layout, context.scene)
        layout.prop(own, "file_format")
        layout.prop(own, "output_folder")
        place, told = images.meant_folder(own.output_folder), images.tells_place(own.output_folder)
        if not told or place.is_relative_to(images.kept_folder()):  # which the field does not tell
            draw_sentence(layout.column(align=True), context, f"Pictures go to {place}", "INFO")
        draw_plan(layout, context)


class BEYONDSCENE_PT_knobs(Section, bpy.types.Panel):
    bl_label = "Every Setting"
    bl_parent_id = BEYONDSCENE_PT_picture.__name__
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.scene.beyondscene.quality == CUSTOM

    def draw(self, context: bpy.types.Context) -> None:
        row = self.layout.row(align=True)
        row.label(text="Start from")
        for name, preset in PRESETS.items():
            row.operator(BEYONDSCENE_OT_take_quality.bl_idname, text=preset.label).quality = name
        self.layout.use_property_split, self.layout.use_property_decorate = True, False
        for name in FIELDS:
            self.layout.prop(context.scene.beyondscene.knobs, name)


def draw_quality(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What the quality sets."""
    own, column = context.scene.beyondscene, layout.column(align=True)
    column.active = False
    for line in describe_settings(chosen_settings(own), current().model_info(own.models)):
        draw_sentence(column, context, line)


def draw_plan(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Levels, views, time and memory, as the backend tells them."""
    plan, column = plan_of(context), layout.box().column(align=True)
    if plan is None:
        draw_sentence(column, context, "What it takes is known while a backend runs", "TIME")
    elif plan.obstacle:
        draw_sentence(column, context, "It cannot be rendered as it is: see above", "ERROR")
    else:
        base, *levels = plan.canvases
        pictures = context.scene.beyondscene.variations
        draw_sentence(column, context, describe_time(plan.seconds, pictures), "TIME")
        draw_sentence(column, context, f"Memory: at least {describe_bytes(plan.memory_bytes)}")
        people, views = counted(plan.people, "person", "people"), counted(base.views, "view", "views")
        draw_sentence(column, context, f"{people} alone; base {base.width} x {base.height}, {views}")
        for number, level in enumerate(levels, start=1):
            views = counted(level.views, "view", "views")
            draw_sentence(column, context, f"Level {number}: {level.width} x {level.height}, {views}")


def describe_time(seconds: float | None, pictures: int) -> str:
    """Of all the pictures together."""
    if seconds is None:
        return "Time: unknown until the first picture"
    return f"Time: about {describe_seconds(seconds * pictures)}" + (f" for {pictures} pictures" if pictures > 1 else "")
