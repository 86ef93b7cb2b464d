"""The 3D viewports, with the panels beside them and the controls over them."""

import bpy


def redraw() -> None:
    """In every window, as soon as Blender is free."""
    windows = bpy.context.window_manager.windows if bpy.context.window_manager else ()
    for window in windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()
