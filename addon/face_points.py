"""Points of a face that the artist chooses on the mesh of a head: vertex groups, which follow shape keys and bones."""

# pyright: reportInvalidTypeForm=false

import bmesh
import bpy
from bpy.props import EnumProperty

from ..protocol import FACE_NAMES
from .exporters.chosen import PREFIX
from .exporters.rigs import spoken
from .obstacles import SaysWhyNot

Result = set[str]


class BEYONDSCENE_OT_choose_face_point(SaysWhyNot, bpy.types.Operator):
    """Let a point of the face lie in the middle of the selected vertices; with none selected, where it is found"""

    bl_idname = "beyondscene.choose_face_point"
    bl_label = "Choose Point of Face"
    bl_options = {"REGISTER", "UNDO"}
    bl_property = "point"

    point: EnumProperty(name="Point", items=[(name, spoken(name).title(), "") for name in FACE_NAMES])

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        if context.object is None or context.object.type != "MESH":
            return "Select the mesh of a head first"
        return "" if context.mode == "EDIT_MESH" else "Go into Edit Mode and select a vertex of the face first"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}  # nothing is done yet, so there is nothing to undo

    def execute(self, context: bpy.types.Context) -> Result:
        head, name = context.object, PREFIX + self.point
        mesh = bmesh.from_edit_mesh(head.data)
        chosen = [vertex for vertex in mesh.verts if vertex.select]
        group = head.vertex_groups.get(name) or head.vertex_groups.new(name=name)
        weights = mesh.verts.layers.deform.verify()
        for vertex in mesh.verts:
            if group.index in vertex[weights]:
                del vertex[weights][group.index]
        for vertex in chosen:
            vertex[weights][group.index] = 1.0
        bmesh.update_edit_mesh(head.data)
        where = f"in the middle of {len(chosen)} vertices" if chosen else "where it is found"
        self.report({"INFO"}, f"{spoken(self.point).title()}: {where}")
        return {"FINISHED"}


register, unregister = bpy.utils.register_classes_factory((BEYONDSCENE_OT_choose_face_point,))
