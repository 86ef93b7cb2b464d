"""Depth and normals against shapes and rays of which both are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import ExportError, gather_passes, write_passes

from .test_sight import add_box

Example = Callable[[str], dict[str, Any]]


def look_down_y(bpy: Any, kind: str) -> None:
    """A camera at the origin that looks along +Y: its x is the world's x, its y the world's -z, its z the world's y."""
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    camera.rotation_euler.x = np.pi / 2
    camera.data.type, camera.data.ortho_scale, camera.data.clip_start = kind, 6, 0.1
    bpy.context.view_layer.update()


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_a_sphere_and_the_wall_behind_it(blender: Any, kind: str) -> None:
    look_down_y(blender, kind)
    blender.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=1, location=(0, 5, 0))
    sphere = blender.context.object
    sphere.data.shade_smooth()
    sphere.scale = (1, 1, -1)  # turned inside out by its mirror, which nobody sees
    add_box(blender, "Wall", (4, 1, 4), (0, 9.5, 0))
    depth, normals = gather_passes(blender.context, 120, 120)
    assert depth.dtype == normals.dtype == np.float32 and depth.shape == (120, 120) and normals.shape == (120, 120, 3)
    assert depth[60, 60] == pytest.approx(4, abs=0.01)
    seen = np.isfinite(depth)
    assert not seen[0, 0] and (normals[~seen] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals[seen], axis=1), 1, atol=1e-5)
    wall = seen & (depth > 8.9)
    assert wall.any()
    np.testing.assert_allclose(normals[wall], np.tile((0, 0, -1), (int(wall.sum()), 1)), atol=1e-5)
    np.testing.assert_allclose(depth[wall], 9, rtol=1e-5)
    ball = seen & (depth < 5)
    rows, columns = np.nonzero(ball)
    camera = blender.context.scene.camera.data
    focal = 120 * camera.lens / camera.sensor_width if kind == "PERSP" else 120 / 6
    scale = depth[ball] if kind == "PERSP" else 1
    places = np.stack([(columns + 0.5 - 60) / focal * scale, (rows + 0.5 - 60) / focal * scale, depth[ball] - 5], 1)
    facing = (places * normals[ball]).sum(1)  # the normal of a ball of radius 1 is where it is
    assert np.quantile(facing, 0.02) > 0.99 and facing.mean() > 0.995


@pytest.mark.parametrize("scale", [1, -1], ids=["camera", "mirrored camera"])
def test_each_face_of_a_turned_box_is_flat_and_faces_the_camera_also_from_within(blender: Any, scale: int) -> None:
    look_down_y(blender, "PERSP")
    blender.context.scene.camera.scale.x = scale
    box = add_box(blender, "Box", (1, 1, 1), (0, 4, 0))
    box.rotation_euler.z = np.pi / 4
    blender.context.view_layer.update()
    _, normals = gather_passes(blender.context, 96, 96)
    side = np.sqrt(0.5)
    np.testing.assert_allclose(normals[48, 42], (-side, 0, -side), atol=1e-5)
    np.testing.assert_allclose(normals[48, 54], (side, 0, -side), atol=1e-5)
    box.location, box.rotation_euler.z, box.scale = (0, 0, 0), 0, (20, 20, 20)
    blender.context.view_layer.update()
    depth, normals = gather_passes(blender.context, 96, 96)
    assert depth[48, 48] == pytest.approx(10)
    np.testing.assert_allclose(normals[48, 48], (0, 0, -1), atol=1e-5)  # the inner side


def test_people_and_set_are_in_them_at_the_size_of_the_picture(blender: Any, example: Example, tmp_path: Path) -> None:
    truth = example("duo")
    passes = gather_passes(blender.context, 1024, 1024)
    for person in truth["characters"]:
        x, y, depth = person["joints"]["Neck"]
        assert 0 < depth - passes.depth[int(y), int(x)] < 0.15  # the skin before the joint
    write_passes(tmp_path / "out", passes)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "depth.npy"), passes.depth)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "normals.npy"), passes.normals)


def test_an_empty_scene_has_none_and_no_camera_is_refused(blender: Any) -> None:
    with pytest.raises(ExportError, match="has no camera"):
        gather_passes(blender.context, 64, 64)
    look_down_y(blender, "PERSP")
    depth, normals = gather_passes(blender.context, 64, 64)
    assert np.isinf(depth).all() and not normals.any()
