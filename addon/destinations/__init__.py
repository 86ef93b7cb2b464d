"""Where a finished picture can be put with one click: one file per place. Nothing of the artist's is replaced."""

from types import ModuleType

import bpy

from ..images import has_pixels, say_gone
from . import camera_background, compositor, image_editor, image_plane, sequencer, world
from .errors import DestinationError

# Each has LABEL, ICON, WHAT, and place(context, image), which says in a few words what was done or raises DestinationError.
# What it makes shows of an animation the frame that the scene is at (`follow_frames`), and is kept (`check_kept`).
DESTINATIONS: dict[str, ModuleType] = {
    "IMAGE_EDITOR": image_editor,
    "CAMERA_BACKGROUND": camera_background,
    "IMAGE_PLANE": image_plane,
    "WORLD": world,
    "COMPOSITOR": compositor,
    "SEQUENCER": sequencer,
}

__all__ = ["DESTINATIONS", "DestinationError", "put"]


def put(context: bpy.types.Context, image: bpy.types.Image, destination: str) -> str:
    """What was done, for the status bar. Raises DestinationError with the sentence and the next step."""
    if not has_pixels(image):
        raise DestinationError(say_gone(image))
    return DESTINATIONS[destination].place(context, image)
