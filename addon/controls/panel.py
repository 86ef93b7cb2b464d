"""The panel *Controls*: a picture of what would be sent, the overlay's switch, and who stands where."""

# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import BoolProperty, EnumProperty, PointerProperty

from ..panels.sidebar import Section, draw_error, draw_sentence
from . import overlay
from .operators import BEYONDSCENE_OT_preview_controls, BEYONDSCENE_OT_refresh_controls, BEYONDSCENE_OT_save_openpose
from .snapshot import Controls, describe

BECOMING: dict[str | None, str] = {"dim": "drawn darker", "drop": "left out"}  # of joints, by `hidden_joints` of the settings


class BEYONDSCENE_PG_controls(bpy.types.PropertyGroup):
    """What is shown; of this Blender, not of the file."""

    overlay: BoolProperty(
        name="Overlay in Camera View",
        description="Draw skeletons and masks over the scene while you look through its camera",
        update=lambda self, context: overlay.note_change(),
        options={"SKIP_SAVE"},
    )
    kind: EnumProperty(
        name="Show",
        items=(
            ("ALL", "All", "Skeletons and masks over the depth; rings are joints that are hidden or outside the frame"),
            ("POSE", "Skeletons", "As the model sees them"),
            ("MASKS", "Masks", "Who is seen where; the nearer the brighter"),
            ("DEPTH", "Depth", "Of all surfaces; the nearer the brighter"),
        ),
        options={"SKIP_SAVE"},
    )


class BEYONDSCENE_PT_controls(Section, bpy.types.Panel):
    bl_label = "Controls"
    bl_order = 2
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, own = self.layout, context.window_manager.beyondscene_controls
        row = layout.split(factor=0.6, align=True)
        row.operator(BEYONDSCENE_OT_preview_controls.bl_idname, icon="IMAGE_DATA")
        row.prop(own, "kind", text="")
        row = layout.row(align=True)
        row.prop(own, "overlay", icon="OVERLAY", toggle=True)
        row.operator(BEYONDSCENE_OT_refresh_controls.bl_idname, text="", icon="FILE_REFRESH")
        layout.operator(BEYONDSCENE_OT_save_openpose.bl_idname, icon="EXPORT")
        if not own.overlay:
            return
        shown = overlay.overlay_of(context.scene, context.view_layer)
        if shown.slow_s:
            draw_sentence(layout, context, f"Masks take {shown.slow_s:.1f} s or more: refresh by hand", "INFO")
        if shown.controls:
            draw_people(layout, context, shown.controls)
        refusal = shown.controls.refusal if shown.controls else shown.error
        if refusal:
            draw_error(layout, context, refusal)


def draw_people(layout: bpy.types.UILayout, context: bpy.types.Context, controls: Controls) -> None:
    """Everybody, the nearest first, with the states of their joints."""
    column = layout.column(align=True)
    near_to_far = [index for index, _ in reversed(controls.far_to_near())]
    for number, index in enumerate(near_to_far, 1):
        character = controls.request.characters[index]
        draw_sentence(column, context, f"{number}  {character.name}: {describe(character)}")
    becoming = BECOMING.get(controls.request.settings.hidden_joints)
    if becoming:
        draw_sentence(column, context, f"What others, the set or the own head hide is {becoming}", "INFO")
    for index, character in enumerate(controls.request.characters):
        if index not in near_to_far:
            draw_sentence(column, context, f"{character.name} is wholly hidden", "HIDE_ON")
    for sentence in controls.left_out:
        draw_sentence(column, context, sentence, "HIDE_ON")


CLASSES = (
    BEYONDSCENE_PG_controls,
    BEYONDSCENE_OT_preview_controls,
    BEYONDSCENE_OT_refresh_controls,
    BEYONDSCENE_OT_save_openpose,
    BEYONDSCENE_PT_controls,
)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.WindowManager.beyondscene_controls = PointerProperty(type=BEYONDSCENE_PG_controls)


def unregister() -> None:
    del bpy.types.WindowManager.beyondscene_controls
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
