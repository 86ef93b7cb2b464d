"""What an artist does with somebody in the list of characters beside describing them."""

# pyright: reportInvalidTypeForm=false

import secrets

import bpy
from bpy.props import FloatProperty, StringProperty

from .exporters import find_people
from .figure import add_figure
from .history import LARGEST_SEED
from .obstacles import SaysWhyNot
from .overrides import OfOwner

Result = set[str]


class BEYONDSCENE_OT_add_person(SaysWhyNot, bpy.types.Operator):
    """Add somebody to pose, at the 3D cursor: in Pose Mode drag hands and feet by their red rings"""

    bl_idname = "beyondscene.add_person"
    bl_label = "Add Person"
    bl_options = {"REGISTER", "UNDO"}

    height: FloatProperty(name="Height", default=1.75, min=0.01, soft_min=0.5, soft_max=3, unit="LENGTH")

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        name, layer = context.collection.name, context.view_layer.active_layer_collection
        closed = context.collection.override_library or not context.collection.is_editable
        if closed or not context.scene.is_editable:
            return f"'{name}' is linked from another file: click another collection in the Outliner, and the person comes there"
        # that of a new scene itself says that it is not visible, which it always is
        hidden = not layer.is_visible and layer != context.view_layer.layer_collection
        if hidden or context.collection.hide_render:
            return f"'{name}' is hidden: show it in the Outliner, or click another collection there, and the person comes there"
        return ""

    def execute(self, context: bpy.types.Context) -> Result:
        enter_object_mode(context)
        add_figure(context, self.height)
        return {"FINISHED"}


class BEYONDSCENE_OT_select_person(bpy.types.Operator):
    """Select this rig in the viewport; Joints then shows which of its bones is which"""

    bl_idname = "beyondscene.select_person"
    bl_label = "Select"
    bl_options = {"REGISTER", "UNDO"}

    id: StringProperty(options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> Result:
        person = next((one for one in find_people(context.view_layer) if one.id == self.id), None)
        if person is None:
            self.report({"ERROR"}, "This person is no longer in the scene, or hidden: show the rig in the Outliner")
            return {"CANCELLED"}
        # of an instance the rig itself is nowhere to be clicked
        thing = person.instancers[0] if person.instancers else person.armature
        if thing not in context.view_layer.objects.values():
            self.report({"ERROR"}, f"'{thing.name}' is in a collection that is excluded: switch it on in the Outliner")
            return {"CANCELLED"}
        enter_object_mode(context)
        for other in context.view_layer.objects:
            other.select_set(other == thing)
        context.view_layer.objects.active = thing
        if not thing.visible_get():
            self.report({"WARNING"}, f"'{thing.name}' is active, but hidden and so not selected: show it in the Outliner")
        return {"FINISHED"}


class BEYONDSCENE_OT_draw_seed(OfOwner, bpy.types.Operator):
    """Draw another seed of this person's own: the next picture has them anew, and the others as they were"""

    bl_idname = "beyondscene.draw_seed"
    bl_label = "Draw Seed"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return super().obstacle(context) if hasattr(cls.owner(context).beyondscene, "use_own_seed") else "A person is needed"

    def execute(self, context: bpy.types.Context) -> Result:
        own = self.owner(context).beyondscene
        own.use_own_seed = True
        own.seed = secrets.randbelow(LARGEST_SEED + 1)
        return {"FINISHED"}


def enter_object_mode(context: bpy.types.Context) -> None:
    if context.mode != "OBJECT" and bpy.ops.object.mode_set.poll():  # what is disabled in viewports stays in its mode
        bpy.ops.object.mode_set(mode="OBJECT")


CLASSES = (BEYONDSCENE_OT_add_person, BEYONDSCENE_OT_select_person, BEYONDSCENE_OT_draw_seed)
register_classes, unregister_classes = bpy.utils.register_classes_factory(CLASSES)


def draw_entry(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator(BEYONDSCENE_OT_add_person.bl_idname, text="BeyondScene Person", icon="OUTLINER_OB_ARMATURE")


def register() -> None:
    register_classes()
    bpy.types.VIEW3D_MT_armature_add.append(draw_entry)


def unregister() -> None:
    bpy.types.VIEW3D_MT_armature_add.remove(draw_entry)
    unregister_classes()
