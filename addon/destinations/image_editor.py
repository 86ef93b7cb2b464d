"""The Image Editor: in those that are free, or in a window of its own."""

import bpy

from ..editors import show
from ..viewports import open_area
from .errors import DestinationError

LABEL, ICON, WHAT = "Image Editor", "IMAGE_DATA", "Show it in the Image Editors that are free, or in a new window where none is"


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    shown = show(image)
    if not shown:
        if bpy.app.background:
            raise DestinationError(
                "No Image Editor is free, and Blender runs without windows: open the picture in one that has them."
            )
        open_area().ui_type = "IMAGE_EDITOR"
        shown = show(image)
    return f"Shown in {shown} Image Editor{'s' * (shown > 1)}"
