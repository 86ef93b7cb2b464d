"""The scene's camera as intrinsics and a pose, and points of the world through it."""

import bpy
import numpy as np

from ...protocol import Camera, Keypoint, KeypointState
from .errors import ExportError

LIMIT = 1e6  # the protocol's bound on pixels and metres
MISSING = Keypoint(x=0, y=0, depth=0, state="missing")


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
    if scene.camera.matrix_world.normalized().determinant() == 0:
        raise ExportError(f"The camera '{scene.camera.name}' has a scale of 0, so it looks nowhere: set its scale to 1.")


def near_metres(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> float:
    """How far in front of the scene's camera it begins to see."""
    return scene.camera.evaluated_get(depsgraph).data.clip_start * scene.unit_settings.scale_length


def project(camera: Camera, point: np.ndarray | None, width: int, height: int, near: float) -> Keypoint:
    """A point of the world as a keypoint of a width x height px picture.

    point: (3,) metres in the world's frame; None where the rig has no such joint.
    near: metres in front of the camera from which on it sees; what is nearer is `behind` and has no place.
    """
    if point is None:
        return MISSING
    x, y, depth = (np.reshape(camera.camera_from_world, (4, 4)) @ [*point, 1.0])[:3]
    if depth < near:
        return Keypoint(x=0, y=0, depth=max(float(depth), -LIMIT), state="behind")
    divisor = depth if camera.projection == "perspective" else 1.0
    x_px = float(np.clip(camera.fx * x / divisor + camera.cx, -LIMIT, LIMIT))
    y_px = float(np.clip(camera.fy * y / divisor + camera.cy, -LIMIT, LIMIT))
    return Keypoint(x=x_px, y=y_px, depth=min(float(depth), LIMIT), state=state_at(x_px, y_px, width, height))


def state_at(x_px: float, y_px: float, width: int, height: int) -> KeypointState:
    """Of a point before the camera, as long as nobody has looked what hides it."""
    return "visible" if 0 <= x_px < width and 0 <= y_px < height else "outside"


def unproject(camera: Camera, joint: Keypoint) -> np.ndarray:
    """(3,) metres in the camera's frame: the way back from `project`."""
    scale = joint.depth if camera.projection == "perspective" else 1.0
    return np.array([(joint.x - camera.cx) / camera.fx * scale, (joint.y - camera.cy) / camera.fy * scale, joint.depth])
