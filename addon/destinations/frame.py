"""What the scene's camera frames, of a picture and of a render, whose proportions may differ."""

from typing import NamedTuple

import bpy
import numpy as np

from ..exporters import ExportError, check_camera
from ..images import path_of, size_of
from .errors import DestinationError


class Frame(NamedTuple):
    """In the camera's own space, at distance 1 before it; of an orthographic camera at any distance."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.top - self.bottom


def camera_of(scene: bpy.types.Scene) -> bpy.types.Object:
    """Raises DestinationError where it has none that an export could follow."""
    try:
        check_camera(scene)
    except ExportError as error:
        raise DestinationError(str(error)) from None
    return scene.camera


def picture_frame(context: bpy.types.Context, camera: bpy.types.Object, image: bpy.types.Image) -> Frame:
    """Raises DestinationError where its file is damaged."""
    width, height = size_of(image)
    if not width or not height:
        words = "cannot be read as a picture: render it again, or put a whole one there."
        raise DestinationError(f"Its file {path_of(image)} {words}")
    return frame_of(context, camera, width, height)


def render_frame(context: bpy.types.Context, camera: bpy.types.Object) -> Frame:
    return frame_of(context, camera, context.scene.render.resolution_x, context.scene.render.resolution_y)


def frame_of(context: bpy.types.Context, camera: bpy.types.Object, width: int, height: int) -> Frame:
    """That of a picture of width x height px."""
    render, depsgraph = context.scene.render, context.evaluated_depsgraph_get()
    ndc = np.array(
        camera.calc_matrix_camera(depsgraph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y)
    )
    offset = -ndc[:2, 3] if camera.data.type == "ORTHO" else ndc[:2, 2]
    (left, bottom), (right, top) = (((side + offset) / ndc.diagonal()[:2]).tolist() for side in (-1, 1))
    return Frame(left, bottom, right, top)
