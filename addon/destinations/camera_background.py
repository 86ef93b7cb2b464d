"""Behind the scene, as the camera sees it in the viewport."""

import bpy

from ..images import follow_frames, is_ours, size_of
from .errors import DestinationError
from .frame import Frame, camera_of, picture_frame, render_frame

LABEL, ICON, WHAT = "Background", "VIEW_CAMERA", "Show it behind the scene, in the viewport seen through the camera"
SAME = 0.01  # by which proportions may differ that are the same but for sides in whole pixels


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    camera = camera_of(context.scene)
    if not camera.data.is_editable:
        raise DestinationError(
            f"The data of the camera '{camera.name}' is linked from another file, also where the camera is overridden: make a "
            "library override of it first (Shift and a click on the chain beside its name in the Object Data properties)."
        )
    method, scale = framing(picture_frame(context, camera, image), render_frame(context, camera), *size_of(image))
    ours = [one for one in camera.data.background_images if one.image and is_ours(one.image)]
    background = ours[0] if ours else camera.data.background_images.new()
    background.image, background.alpha = image, 1.0
    background.show_background_image, background.display_depth = True, "BACK"  # hidden or before the scene until now
    background.source, background.use_flip_x, background.use_flip_y = "IMAGE", False, False
    background.frame_method, background.scale, background.offset, background.rotation = method, scale, (0, 0), 0
    follow_frames(background.image_user, image)
    camera.data.show_background_images = True
    return f"Behind the scene in '{camera.name}'"


def framing(picture: Frame, render: Frame, width: int, height: int) -> tuple[str, float]:
    """Frame method and scale by which Blender draws a picture of width x height px where it was seen; both frames have the same
    middle. Raises DestinationError where there is none.
    """
    shape, render_shape = picture.width / picture.height, render.width / render.height
    if abs(shape / (width / height) - 1) < 1e-3:  # its pixels are square
        return "FIT", picture.width / min(render.width, render.height * shape)
    if abs(shape / render_shape - 1) < SAME:
        return "STRETCH", picture.width / render.width
    raise DestinationError(
        "Its pixels are not square and its proportions are not those of Output Properties, which a background cannot show: "
        "use Image Plane, or give the render the picture's proportions."
    )
