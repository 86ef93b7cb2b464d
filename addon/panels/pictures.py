"""The finished pictures: a gallery, and what can be done with the chosen one."""

import bpy

from .. import history
from ..animation_operators import BEYONDSCENE_OT_render_missing
from ..destinations import DESTINATIONS
from ..history_operators import (
    BEYONDSCENE_OT_delete_picture,
    BEYONDSCENE_OT_open_picture,
    BEYONDSCENE_OT_place_picture,
    BEYONDSCENE_OT_render_again,
    BEYONDSCENE_OT_restore_settings,
)
from ..images import NAME, finished_pictures
from .sidebar import Section


class BEYONDSCENE_PT_pictures(Section, bpy.types.Panel):
    bl_label = "Finished Pictures"
    bl_order = 5

    def draw(self, context: bpy.types.Context) -> None:
        layout, image = self.layout, history.chosen()
        if image is None:
            layout.label(text="None yet: they will be listed here", icon="INFO")
            layout.operator(BEYONDSCENE_OT_open_picture.bl_idname, icon="FILE_FOLDER")
            return
        layout.template_icon_view(context.window_manager, "beyondscene_picture", show_labels=True, scale=6.0, scale_popup=5.0)
        row = layout.row(align=True)
        name = image.name.removeprefix(NAME)
        row.label(text=f"{name}, of {len(finished_pictures())}", icon="IMAGE_DATA", translate=False)
        row.operator(BEYONDSCENE_OT_open_picture.bl_idname, text="", icon="FILE_FOLDER")
        row.operator(BEYONDSCENE_OT_delete_picture.bl_idname, text="", icon="TRASH")
        grid = layout.grid_flow(columns=2, even_columns=True, align=True)
        for name, destination in DESTINATIONS.items():
            button = grid.operator(BEYONDSCENE_OT_place_picture.bl_idname, text=destination.LABEL, icon=destination.ICON)
            button.destination = name
        row = layout.row(align=True)
        row.operator(BEYONDSCENE_OT_restore_settings.bl_idname, icon="RECOVER_LAST")
        row.operator(BEYONDSCENE_OT_render_again.bl_idname, icon="FILE_REFRESH")
        if image.source == "SEQUENCE":
            layout.operator(BEYONDSCENE_OT_render_missing.bl_idname, icon="RENDER_ANIMATION")
