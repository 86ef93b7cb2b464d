"""The Image Editor: in those that are open, or in a window of its own."""

import bpy

from ..images import open_areas, show
from .errors import DestinationError

LABEL, ICON, WHAT = "Image Editor", "IMAGE_DATA", "Show it in every Image Editor, or in a new window where none is open"


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    if not open_areas("IMAGE_EDITOR"):
        if bpy.app.background:
            raise DestinationError("Blender runs without windows: open the picture in one that has them.")
        bpy.ops.wm.window_new()
        context.window_manager.windows[-1].screen.areas[0].type = "IMAGE_EDITOR"
    shown = show(image)
    return f"Shown in {shown} Image Editor{'s' * (shown > 1)}"
