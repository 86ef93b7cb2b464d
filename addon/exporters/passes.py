"""Depth and normals of all surfaces through the scene's camera, as float arrays, without a GPU."""

from pathlib import Path
from typing import NamedTuple

import bpy
import numpy as np

from ...protocol import Camera
from .camera import gather_view
from .raster import ZBuffer
from .surfaces import gather_surfaces

BATCH_PX = 1 << 17  # pixels whose normals are found at once


class Passes(NamedTuple):
    """One value for each pixel's centre, row 0 at the top.

    depth: float32 (height, width), metres along the view axis; infinite where nothing is seen.
    normals: float32 (height, width, 3), of length 1 in the camera's frame (x right, y down, z forward), as the surface is
        shaded and on the side that is seen; 0 where nothing is. What faces the camera has (0, 0, -1).
    """

    depth: np.ndarray
    normals: np.ndarray


def gather_passes(context: bpy.types.Context, width: int, height: int) -> Passes:
    """What the camera of `context` sees in a picture of width x height px. Raises ExportError where there is no camera."""
    scene, depsgraph = context.scene, context.evaluated_depsgraph_get()
    view = gather_view(scene, depsgraph, width, height)
    camera, buffer = view.camera, ZBuffer(view, with_front=True)
    triangles, normals = [np.zeros((0, 3, 3))], [np.zeros((0, 3, 3))]
    for surface in gather_surfaces(context.view_layer, depsgraph, (), with_normals=True):
        buffer.draw(surface.triangles * view.metres)
        assert surface.normals is not None
        triangles.append(surface.triangles * view.metres)
        normals.append(surface.normals)
    camera_from_world = np.reshape(camera.camera_from_world, (4, 4))
    turned = camera_from_world[:3, :3].T
    corners = np.concatenate(triangles) @ turned + camera_from_world[:3, 3]
    winding = np.sign(np.linalg.det(turned))  # seen in a mirror, the corners of a triangle run the other way round
    depth = buffer.depth
    return Passes(depth, shade(camera, depth, buffer.front, corners, np.concatenate(normals) @ turned * winding))


def shade(camera: Camera, depth: np.ndarray, front: np.ndarray, corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """float32 (height, width, 3): the normal in each pixel, between those of the corners of the triangle that is seen there.

    front: int32 (height, width), the triangle, or -1. corners, normals: (N, 3, 3) in the camera's frame.
    """
    found = np.zeros((*front.shape, 3), np.float32)
    rows, columns = np.nonzero(front >= 0)
    for first in range(0, len(rows), BATCH_PX):
        row, column = rows[first : first + BATCH_PX], columns[first : first + BATCH_PX]
        triangle, far = front[row, column], depth[row, column].astype(np.float64)
        scale = far if camera.projection == "perspective" else 1.0
        x, y = (column + 0.5 - camera.cx) / camera.fx * scale, (row + 0.5 - camera.cy) / camera.fy * scale
        shares, facing = find_shares(corners[triangle], np.stack([x, y, far], 1), camera.projection == "perspective")
        blend = np.einsum("nk,nkc->nc", shares, normals[triangle]) * facing[:, None]
        found[row, column] = blend / np.maximum(np.linalg.norm(blend, axis=1, keepdims=True), 1e-12)
    return found


def find_shares(corners: np.ndarray, points: np.ndarray, perspective: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3): how much of each corner is in a point of its triangle, and (N,): 1 where its front is seen, -1 where its back is.

    corners: (N, 3, 3), points: (N, 3), in the camera's frame.
    """
    a, b, c = corners.swapaxes(0, 1)
    across, up, out = b - a, c - a, points - a
    normal = np.cross(across, up)
    area = np.maximum((normal**2).sum(1), 1e-30)
    of_b = (np.cross(out, up) * normal).sum(1) / area
    of_c = (np.cross(across, out) * normal).sum(1) / area
    shares = np.clip(np.stack([1 - of_b - of_c, of_b, of_c], 1), 0, 1)
    view = points if perspective else np.array([0.0, 0.0, 1.0])
    return shares / shares.sum(1, keepdims=True), np.where((normal * view).sum(1) > 0, -1.0, 1.0)


def write_passes(folder: Path, passes: Passes) -> None:
    """`depth.npy` and `normals.npy` in `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "depth.npy", passes.depth, allow_pickle=False)
    np.save(folder / "normals.npy", passes.normals, allow_pickle=False)
