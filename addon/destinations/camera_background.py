"""Behind the scene, as the camera sees it in the viewport."""

import bpy

from ..images import follow_frames, is_ours
from .errors import DestinationError

LABEL, ICON, WHAT = "Background", "VIEW_CAMERA", "Show it behind the scene, in the viewport seen through the camera"


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    camera = context.scene.camera
    if camera is None or camera.type != "CAMERA":
        raise DestinationError("The scene has no camera: add one first.")
    if not camera.data.is_editable:
        raise DestinationError(f"The camera '{camera.name}' is linked from another file: make a library override of it first.")
    ours = [one for one in camera.data.background_images if one.image and is_ours(one.image)]
    background = ours[0] if ours else camera.data.background_images.new()
    background.image, background.alpha, background.frame_method = image, 1.0, "FIT"
    follow_frames(background.image_user, image)
    camera.data.show_background_images = True
    return f"Behind the scene in '{camera.name}'"
