"""Which bone is which joint, for the artist to see and to correct: a panel for the active rig, and what its buttons do."""

# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import EnumProperty, StringProperty

from ..protocol import HEAD_NAMES
from .exporters import ExportError
from .exporters.rigs import CORRECTABLE, Match, best_match, check_corrections, gather_corrections, spoken
from .face_points import BEYONDSCENE_OT_choose_face_point
from .joint_presets import PresetError, load_preset, preset_names, save_preset
from .obstacles import SaysWhyNot
from .overrides import is_editable
from .panels.sidebar import Section

Result = set[str]


class OnRig(SaysWhyNot):
    """An operator on the corrections of the active armature."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        rig = context.object
        if rig is None or rig.type != "ARMATURE":
            return "Select the rig of a person first"
        return "" if is_editable(rig) else "The rig is linked from another file: choose Object > Library Override > Make first"


class BEYONDSCENE_OT_take_bone(OnRig, bpy.types.Operator):
    """Let this joint lie on the bone that is selected in Pose Mode"""

    bl_idname = "beyondscene.take_bone"
    bl_label = "Take Selected Bone"

    joint: EnumProperty(name="Joint", items=[(role, spoken(role).title(), "") for role in CORRECTABLE])

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        posing = context.active_pose_bone is not None
        return super().obstacle(context) or ("" if posing else "Go into Pose Mode and select the bone first")

    def execute(self, context: bpy.types.Context) -> Result:
        getattr(context.object.beyondscene.joints, self.joint).bone = context.active_pose_bone.name
        return {"FINISHED"}


class BEYONDSCENE_OT_clear_joints(OnRig, bpy.types.Operator):
    """Go back to the joints as they were found"""

    bl_idname = "beyondscene.clear_joints"
    bl_label = "Clear"

    def execute(self, context: bpy.types.Context) -> Result:
        for role in CORRECTABLE:
            getattr(context.object.beyondscene.joints, role).bone = ""
        return {"FINISHED"}


class BEYONDSCENE_OT_save_joints(OnRig, bpy.types.Operator):
    """Save the joints that were set by hand, to use them on other rigs with the same bones"""

    bl_idname = "beyondscene.save_joints"
    bl_label = "Save Joint Preset"

    name: StringProperty(name="Name", default="My Rig")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> Result:
        try:
            check_corrections(context.object)
            path = save_preset(self.name, gather_corrections(context.object))
        except (ExportError, PresetError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Saved as {path}")
        return {"FINISHED"}


class BEYONDSCENE_OT_load_joints(OnRig, bpy.types.Operator):
    """Set the joints of this rig as in a saved preset"""

    bl_idname = "beyondscene.load_joints"
    bl_label = "Load Joint Preset"

    name: StringProperty(name="Preset", search=lambda self, context, text: preset_names())

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return super().obstacle(context) or ("" if preset_names() else "No preset was saved yet: save one from a rig first")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        names = preset_names()
        self.name = self.name if self.name in names else names[0]
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> Result:
        rig = context.object
        try:
            joints = load_preset(self.name)
        except PresetError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        lacking = sorted({anchor.bone for anchor in joints.values()} - set(rig.data.bones.keys()))
        if lacking:
            self.report({"ERROR"}, f"'{rig.name}' lacks the bone '{lacking[0]}' of the preset '{self.name}': choose another.")
            return {"CANCELLED"}
        for role in CORRECTABLE:
            place, anchor = getattr(rig.beyondscene.joints, role), joints.get(role)
            place.bone, place.end = (anchor.bone, anchor.end.upper()) if anchor else ("", "HEAD")
        return {"FINISHED"}


class BEYONDSCENE_PT_joints(Section, bpy.types.Panel):
    bl_label = "Joints"
    bl_order = 1
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, rig = self.layout, context.object
        if rig is not None and rig.type == "MESH" and rig.mode == "EDIT":
            layout.operator(BEYONDSCENE_OT_choose_face_point.bl_idname, icon="VERTEXSEL")
            return
        if rig is None or rig.type != "ARMATURE":
            layout.label(text="Select the rig of a person", icon="INFO")
            return
        match = best_match(rig)
        layout.label(
            text=f"{rig.name}, {match.label}: {match.keypoints_found} of 18 by bone", icon="ARMATURE_DATA", translate=False
        )
        column = layout.column(align=True)
        column.enabled = is_editable(rig)
        for role in CORRECTABLE:
            draw_joint(column, rig, role, match)
        row = layout.row(align=True)
        row.operator(BEYONDSCENE_OT_load_joints.bl_idname, text="Load", icon="IMPORT")
        row.operator(BEYONDSCENE_OT_save_joints.bl_idname, text="Save", icon="EXPORT")
        row.operator(BEYONDSCENE_OT_clear_joints.bl_idname, icon="X")


def draw_joint(layout: bpy.types.UILayout, rig: bpy.types.Object, role: str, match: Match) -> None:
    """One row: the joint, its bone (as found, in grey, until another is set), which end of it, and the picker."""
    place = getattr(rig.beyondscene.joints, role)
    split = layout.split(factor=0.42, align=True)
    split.label(text=spoken(role).title())
    row = split.row(align=True)
    row.alert = bool(place.bone) and place.bone not in rig.data.bones
    row.prop(place, "bone", text="", placeholder=describe_found(role, match), translate=False)
    if place.bone:
        row.prop(place, "end", text="", icon_only=True)
    row.operator(BEYONDSCENE_OT_take_bone.bl_idname, text="", icon="EYEDROPPER").joint = role


def describe_found(role: str, match: Match) -> str:
    """Where a joint lies that was not set by hand."""
    if role in match.anchors:
        return match.anchors[role].bone
    if role == "Neck":
        return "midway"
    return "estimated" if role in HEAD_NAMES and "Head" in match.anchors else "no bone"


CLASSES = (
    BEYONDSCENE_OT_take_bone,
    BEYONDSCENE_OT_clear_joints,
    BEYONDSCENE_OT_save_joints,
    BEYONDSCENE_OT_load_joints,
    BEYONDSCENE_PT_joints,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
