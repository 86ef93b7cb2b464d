"""The scene's camera as intrinsics and a pose."""

import bpy
import numpy as np

from ...protocol import Camera
from .errors import ExportError
from .view import View

FLAT = 1e-6  # determinant of a camera's axes that lie in a plane, as far as 32 bits tell


def gather_view(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, width: int, height: int) -> View:
    """What the evaluated camera of `scene` sees in a picture of width x height px.

    Raises ExportError as check_camera does.
    """
    camera, metres = gather_camera(scene, depsgraph, width, height), scene.unit_settings.scale_length
    lens = scene.camera.evaluated_get(depsgraph).data
    return View(camera, width, height, lens.clip_start * metres, lens.clip_end * metres, metres)


def gather_camera(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, width: int, height: int) -> Camera:
    """The evaluated camera of `scene` for a picture of width x height px: lens, shift, sensor fit, pixel aspect.

    Raises ExportError as check_camera does.
    """
    check_camera(scene)
    camera = scene.camera.evaluated_get(depsgraph)
    metres = scene.unit_settings.scale_length  # per Blender unit
    render = scene.render
    # Rows map camera space (x right, y up, z backward) to -1..1; the camera's own scale counts for nothing in Blender.
    ndc = camera.calc_matrix_camera(depsgraph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y)
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    camera_from_world = flip @ np.array(camera.matrix_world.normalized().inverted())
    camera_from_world[:3, 3] *= metres
    half_width, half_height = width / 2, height / 2
    if camera.data.type == "ORTHO":
        fx, fy = ndc[0][0] * half_width / metres, ndc[1][1] * half_height / metres
        cx, cy = (1 + ndc[0][3]) * half_width, (1 - ndc[1][3]) * half_height
    else:
        fx, fy = ndc[0][0] * half_width, ndc[1][1] * half_height
        cx, cy = (1 - ndc[0][2]) * half_width, (1 + ndc[1][2]) * half_height
    return Camera(
        projection="orthographic" if camera.data.type == "ORTHO" else "perspective",
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        camera_from_world=tuple(camera_from_world.ravel().tolist()),
    )


def check_camera(scene: bpy.types.Scene) -> None:
    """Raise ExportError where there is no camera, or one that looks nowhere or is neither perspective nor orthographic."""
    if scene.camera is None:
        raise ExportError(f"The scene '{scene.name}' has no camera: add one (Add > Camera) and look through it.")
    if scene.camera.type != "CAMERA" or scene.camera.data.type not in ("PERSP", "ORTHO"):
        raise ExportError(
            f"The camera '{scene.camera.name}' is neither perspective nor orthographic, and only those two can be followed: "
            "change its lens type, or make another camera active."
        )
    if abs(scene.camera.matrix_world.normalized().determinant()) < FLAT:
        raise ExportError(
            f"The camera '{scene.camera.name}' has a scale of 0, its own or of what it hangs on, so it looks nowhere: "
            "set that scale to 1."
        )
