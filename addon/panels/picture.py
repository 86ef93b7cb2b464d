"""How large the picture becomes, from which seed and with which models, and where it goes."""

import bpy

from ..exporters import picture_size
from .sidebar import Section


class BEYONDSCENE_PT_picture(Section, bpy.types.Panel):
    bl_label = "Picture"

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
