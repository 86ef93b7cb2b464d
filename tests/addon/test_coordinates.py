"""Every way in which Blender moves a rig or looks at it: keypoints against empties on the bones, through Blender's own view."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import panels
from beyondscene.addon.exporters import best_match, export_request
from beyondscene.addon.exporters.rigs.family import LIMBS
from beyondscene.protocol import KEYPOINT_NAMES

from .conftest import EXAMPLES
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def mark_joints(bpy: Any, rig: Any) -> dict[str, Any]:
    """An empty at the head of each limb joint's bone, held there by Blender."""
    markers = {}
    for role in LIMBS:
        bone = rig.data.bones[best_match(rig).anchors[role].bone]
        marker = bpy.data.objects.new(role, None)
        bpy.context.scene.collection.objects.link(marker)
        marker.parent, marker.parent_type, marker.parent_bone = rig, "BONE", bone.name
        marker.location.y = -bone.length  # a child of a bone lives at its tail
        markers[role] = marker
    return markers


def check_keypoints(bpy: Any, rig: Any, markers: dict[str, Any]) -> np.ndarray:
    """The limb joints of `rig` are exported where Blender sees its markers; returns them, (12, 2) px."""
    from bpy_extras.object_utils import world_to_camera_view

    scene = bpy.context.scene
    bpy.context.view_layer.update()
    width, height = scene.render.resolution_x, scene.render.resolution_y
    character = next(one for one in export_request(bpy.context)[0].characters if one.name == rig.name)
    found = {str(name): keypoint for name, keypoint in zip(KEYPOINT_NAMES, character.keypoints, strict=True)}
    depsgraph = bpy.context.evaluated_depsgraph_get()
    for role, marker in markers.items():
        place = marker.evaluated_get(depsgraph).matrix_world.translation
        u, v, depth = world_to_camera_view(scene, scene.camera, place)
        if rig.matrix_world.is_negative:  # the right of who is seen is the rig's left
            role = {"R": "L", "L": "R"}[role[0]] + role[1:]
        assert (found[role].x, found[role].y) == pytest.approx((u * width, (1 - v) * height), abs=0.05), role
        assert found[role].depth == pytest.approx(depth, abs=1e-4), role
    return np.array([(found[role].x, found[role].y) for role in markers])


def squash(bpy: Any, rig: Any) -> None:
    crane = bpy.data.objects.new("Crane", None)
    bpy.context.scene.collection.objects.link(crane)
    rig.parent = crane
    crane.scale, crane.rotation_euler = (0.7, 1.1, 0.8), (0.1, 0.2, 0.3)
    rig.rotation_euler.z, rig.scale = 0.5, (0.9, 0.9, 0.9)


def mirror(bpy: Any, rig: Any) -> None:
    rig.scale.x = -1


def follow(bpy: Any, rig: Any) -> None:
    target = bpy.data.objects.new("Target", None)
    bpy.context.scene.collection.objects.link(target)
    target.location = (rig.location.x + 0.3, rig.location.y - 0.4, 1.2)
    reach = rig.pose.bones["lowerarm_l"].constraints.new("IK")
    reach.target, reach.chain_count = target, 2
    moved = rig.constraints.new("TRANSFORM")
    moved.target = target
    moved.map_to, moved.to_min_z = "LOCATION", 0.1


def drive(bpy: Any, rig: Any) -> None:
    bone = rig.pose.bones["thigh_r"]
    bone.rotation_mode = "XYZ"
    driver = bone.driver_add("rotation_euler", 0).driver
    driver.type = "SUM"
    variable = driver.variables.new()
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", bpy.context.scene
    variable.targets[0].data_path = "render.pixel_aspect_x"  # 1, which bends the thigh by a radian


def animate(bpy: Any, rig: Any) -> None:
    rig.location.x, before = rig.location.x + 0.2, rig.location.x
    rig.keyframe_insert("location", frame=20)
    rig.location.x = before
    rig.keyframe_insert("location", frame=10)
    bone = rig.pose.bones["upperarm_l"]
    bone.rotation_mode = "XYZ"
    for frame, angle in ((10, 0.0), (20, 0.8)):
        bone.rotation_euler.x = angle
        bone.keyframe_insert("rotation_euler", frame=frame)
    bpy.context.scene.frame_set(17)


@pytest.mark.parametrize("move", [squash, mirror, follow, drive, animate], ids=lambda move: move.__name__)
def test_joints_are_where_blender_moves_the_bones(blender: Any, example: Example, move: Callable[[Any, Any], None]) -> None:
    example("duo")
    eve = blender.data.objects["Eve"]
    markers = mark_joints(blender, eve)
    still = check_keypoints(blender, eve, markers)
    move(blender, eve)
    assert np.abs(check_keypoints(blender, eve, markers) - still).max() > 5


def test_the_current_frame_is_the_one_that_is_exported(blender: Any, example: Example) -> None:
    example("duo")
    eve = blender.data.objects["Eve"]
    markers = mark_joints(blender, eve)
    animate(blender, eve)
    places = []
    for frame in (10, 15, 20):
        blender.context.scene.frame_set(frame)
        places.append(check_keypoints(blender, eve, markers))
    assert (places[1] - places[0])[:, 0].min() > 5
    assert (places[2] - places[1])[:, 0].min() > 5


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
@pytest.mark.parametrize("size", [(1024, 768), (768, 1024)])
def test_every_camera_sees_the_joints_as_blender_does(
    blender: Any, example: Example, kind: str, fit: str, size: tuple[int, int]
) -> None:
    example("duo")
    scene, eve = blender.context.scene, blender.data.objects["Eve"]
    camera = scene.camera
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 1.0, 1.3
    camera.data.type, camera.data.sensor_fit, camera.data.ortho_scale = kind, fit, 6
    camera.data.sensor_width, camera.data.sensor_height = 30, 20
    camera.data.shift_x, camera.data.shift_y = -0.08, 0.12
    rail = blender.data.objects.new("Rail", None)
    scene.collection.objects.link(rail)
    camera.parent = rail
    rail.rotation_euler.z, rail.scale = 0.05, (1.5, 1.5, 1.5)
    markers = mark_joints(blender, eve)
    seen = check_keypoints(blender, eve, markers)
    render = scene.render
    render.use_border = render.use_crop_to_border = True  # the whole picture is made, whatever part Blender renders
    render.border_min_x, render.border_max_x, render.border_min_y, render.border_max_y = 0.2, 0.6, 0.1, 0.7
    np.testing.assert_array_equal(check_keypoints(blender, eve, markers), seen)


def test_a_linked_person_is_exported_and_an_override_can_be_described_and_corrected(
    blender: Any, example: Example, tmp_path: Path
) -> None:
    example("duo")
    scene = blender.context.scene
    for name in ("Eve", "Flo"):
        blender.data.objects[name].beyondscene.enabled = False
    with blender.data.libraries.load(str(EXAMPLES / "plaza.blend"), link=True) as (_, wanted):
        wanted.objects = ["Bo"]
    bo = blender.data.objects["Bo"]
    scene.collection.objects.link(bo)
    linked = check_keypoints(blender, bo, mark_joints(blender, bo))
    assert not bo.is_editable and drawn(panels.BEYONDSCENE_PT_characters).count("Library Override > Make") == 1

    mine = bo.override_create(remap_local_usages=True)
    mine.pose.bones["upperarm_l"].rotation_mode = "XYZ"
    mine.pose.bones["upperarm_l"].rotation_euler.x = 1.0
    mine.location.z += 0.1
    mine.beyondscene.prompt = "a baker"
    markers = mark_joints(blender, mine)
    assert np.abs(check_keypoints(blender, mine, markers) - linked).max() > 5
    mine.beyondscene.joints.LWrist.bone = "lowerarm_l"
    path = str(tmp_path / "override.blend")
    blender.ops.wm.save_as_mainfile(filepath=path)
    blender.ops.wm.open_mainfile(filepath=path)
    character = next(one for one in export_request(blender.context)[0].characters if one.name == "Bo")
    keypoints = dict(zip(KEYPOINT_NAMES, character.keypoints, strict=True))
    assert character.prompt == "a baker"
    assert (keypoints["LWrist"].x, keypoints["LWrist"].y) == (keypoints["LElbow"].x, keypoints["LElbow"].y)


def test_a_camera_that_is_animated_driven_and_constrained_is_the_one_of_this_frame(blender: Any, example: Example) -> None:
    example("duo")
    scene, eve = blender.context.scene, blender.data.objects["Eve"]
    camera = scene.camera
    markers = mark_joints(blender, eve)
    still = check_keypoints(blender, eve, markers)
    for frame, lens in ((10, camera.data.lens), (20, camera.data.lens * 0.7)):
        camera.data.lens = lens
        camera.data.keyframe_insert("lens", frame=frame)
    scene.frame_set(15)
    zoomed = check_keypoints(blender, eve, markers)
    assert np.abs(zoomed - still).max() > 5
    driver = camera.data.driver_add("shift_x").driver
    variable = driver.variables.new()
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", scene
    variable.targets[0].data_path = "frame_current"
    driver.type, driver.expression = "SCRIPTED", f"{variable.name} / 300"
    shifted = check_keypoints(blender, eve, markers)
    assert np.abs(shifted - zoomed).max() > 5
    aim = camera.constraints.new("TRACK_TO")
    aim.target, aim.track_axis, aim.up_axis = blender.data.objects["Flo"], "TRACK_NEGATIVE_Z", "UP_Y"
    assert np.abs(check_keypoints(blender, eve, markers) - shifted).max() > 5


@pytest.mark.parametrize(("aspect", "percentage"), [((1.3, 1.0), 100), ((2.0, 1.0), 50), ((1.0, 1.4), 50)])
def test_wide_and_tall_pixels_and_a_percentage_of_the_size(
    blender: Any, example: Example, aspect: tuple[float, float], percentage: int
) -> None:
    example("duo")
    render, eve = blender.context.scene.render, blender.data.objects["Eve"]
    render.pixel_aspect_x, render.pixel_aspect_y = aspect
    markers = mark_joints(blender, eve)
    whole = check_keypoints(blender, eve, markers)
    render.resolution_percentage = percentage
    request, _ = export_request(blender.context)
    character = next(one for one in request.characters if one.name == "Eve")
    found = {str(name): keypoint for name, keypoint in zip(KEYPOINT_NAMES, character.keypoints, strict=True)}
    places = np.array([(found[role].x, found[role].y) for role in markers])
    np.testing.assert_allclose(places, whole * percentage / 100, atol=1e-3)


def test_a_rig_shown_in_its_rest_position_is_exported_so(blender: Any, example: Example) -> None:
    example("duo")
    eve = blender.data.objects["Eve"]
    markers = mark_joints(blender, eve)
    posed = check_keypoints(blender, eve, markers)
    eve.data.pose_position = "REST"
    assert np.abs(check_keypoints(blender, eve, markers) - posed).max() > 5


def test_a_rig_that_rides_on_the_bone_of_another_moves_with_it(blender: Any, example: Example) -> None:
    example("duo")
    eve, flo = blender.data.objects["Eve"], blender.data.objects["Flo"]
    place = eve.matrix_world.copy()
    eve.parent, eve.parent_type, eve.parent_bone = flo, "BONE", "DEF-spine.003" if "DEF-spine.003" in flo.data.bones else "root"
    eve.matrix_world = place
    markers = mark_joints(blender, eve)
    still = check_keypoints(blender, eve, markers)
    flo.location.x -= 0.2
    assert np.abs(check_keypoints(blender, eve, markers) - still).max() > 20
