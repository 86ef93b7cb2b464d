"""The sidebar of the 3D viewport: drawing only."""

import textwrap

import bpy

from .exporters import ExportError, Person, best_match, check_scene, find_people, picture_size
from .exporters.rigs import MIN_COVERAGE, Match
from .operators import BEYONDSCENE_OT_cancel, BEYONDSCENE_OT_render, BEYONDSCENE_OT_start_backend, BEYONDSCENE_OT_stop_backend
from .session import current, describe_remaining

BACKEND_LINES = {
    "off": ("Backend is off", "RADIOBUT_OFF"),
    "starting": ("Backend is starting", "SORTTIME"),
    "connecting": ("Connecting", "SORTTIME"),
    "ready": ("Backend is ready", "RADIOBUT_ON"),
}


class Sidebar:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "BeyondScene"


class BEYONDSCENE_PT_main(Sidebar, bpy.types.Panel):
    bl_label = "BeyondScene"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.beyondscene
        draw_backend(layout)
        column = layout.column(align=True)
        column.label(text="Scene, without its people")
        column.prop(settings, "prompt", text="", placeholder="a city plaza at noon")
        column.prop(settings, "negative_prompt", text="", placeholder="not wanted (optional)")
        draw_characters(layout, context)
        draw_render(layout, context)


class BEYONDSCENE_PT_settings(Sidebar, bpy.types.Panel):
    bl_label = "Picture"
    bl_parent_id = "BEYONDSCENE_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.beyondscene
        layout.use_property_split, layout.use_property_decorate = True, False
        width, height = picture_size(context.scene)
        layout.prop(settings, "use_own_size")
        column = layout.column(align=True)
        if settings.use_own_size:
            column.prop(settings, "width")
            column.prop(settings, "height")
        else:
            column.label(text=f"{width} x {height} px, from Output Properties")
        layout.prop(settings, "seed")
        layout.prop(settings, "models")
        layout.prop(settings, "output_folder")


def draw_backend(layout: bpy.types.UILayout) -> None:
    session = current()
    text, icon = BACKEND_LINES[session.backend]
    row = layout.split(factor=0.7)
    row.label(text=text, icon=icon)
    if session.backend == "off":
        row.operator(BEYONDSCENE_OT_start_backend.bl_idname, text="Start")
    else:
        row.operator(BEYONDSCENE_OT_stop_backend.bl_idname, text="Stop")


def draw_characters(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    people = find_people(context.view_layer)
    column = layout.column()
    column.label(text=f"Characters ({len(people)})", icon="OUTLINER_OB_ARMATURE")
    for person in people:
        draw_character(column.box(), person)
    if not people:
        column.label(text="Each visible armature is one person")


def draw_character(layout: bpy.types.UILayout, person: Person) -> None:
    own, match = person.described.beyondscene, best_match(person.armature)
    row = layout.row()
    row.prop(own, "enabled", text=person.name)
    rig = row.row()
    rig.alignment = "RIGHT"
    if match.coverage < MIN_COVERAGE:
        rig.alert = own.enabled
        rig.label(text="unknown rig", icon="ERROR")
    else:
        rig.label(text=describe_match(match), icon="QUESTION" if match.guessed else "NONE")
    if own.enabled:
        column = layout.column(align=True)
        column.prop(own, "prompt", text="", placeholder=person.prompt or "describe this person")
        column.prop(own, "negative_prompt", text="", placeholder="not wanted (optional)")


def describe_match(match: Match) -> str:
    """Family, limb joints found of twelve, and how many the artist set."""
    corrected = f", {len(match.corrected)} set" if match.corrected else ""
    return f"{match.label} {match.limbs_found}/12{corrected}"


def draw_render(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    session, job = current(), current().job
    column = layout.column()
    column.scale_y = 1.4
    if job:
        column.operator(BEYONDSCENE_OT_cancel.bl_idname, icon="CANCEL")
        layout.progress(factor=job.fraction, text=f"{job.fraction:.0%}  {describe_remaining(job.remaining_s)}".rstrip())
        layout.label(text=job.status)
    else:
        column.operator(BEYONDSCENE_OT_render.bl_idname, icon="RENDER_STILL")
    error = session.error or (obstacle(context) if job is None else "")
    if error:
        draw_error(layout, context, error)
    elif session.picture and not job:
        layout.label(text=session.picture, icon="IMAGE_DATA")


def obstacle(context: bpy.types.Context) -> str:
    """Why Render is greyed out, or nothing."""
    try:
        check_scene(context)
    except ExportError as error:
        return str(error)
    return ""


def draw_error(layout: bpy.types.UILayout, context: bpy.types.Context, sentence: str) -> None:
    """The whole sentence, broken into lines: a label is one line and would be cut."""
    characters = max(20, int(context.region.width / (7.2 * context.preferences.system.ui_scale)) - 6)
    column = layout.box().column(align=True)
    column.alert = True
    for number, line in enumerate(textwrap.wrap(sentence, characters)):
        column.label(text=line, icon="BLANK1" if number else "ERROR")


CLASSES = (BEYONDSCENE_PT_main, BEYONDSCENE_PT_settings)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
