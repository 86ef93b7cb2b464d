"""Keypoints against joints that were measured on the mesh, and what an export refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import panels
from beyondscene.addon.controls.snapshot import gather_controls
from beyondscene.addon.exporters import ExportError, export_request, find_left_out
from beyondscene.backend.cli import main
from beyondscene.protocol import KEYPOINT_NAMES, RequestError, request_to_json, resized

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]
LIMBS = tuple(name for name in KEYPOINT_NAMES if name[1:] in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"))


# by the person's own head, and by the other leg
HIDDEN = {"plaza": set(), "duo": {("Eve", "LEar"), ("Flo", "REar"), ("Flo", "RKnee")}}


@pytest.mark.parametrize("name", ["plaza", "duo"])
def test_keypoints_are_where_the_mesh_has_its_joints(blender: Any, example: Example, name: str) -> None:
    truth = example(name)
    request, _ = export_request(blender.context)
    assert (request.width, request.height) == tuple(truth["size"])
    assert request.prompt == truth["prompt"]
    characters = {one.name: one for one in request.characters}
    assert sorted(characters) == sorted(one["name"] for one in truth["characters"])
    for true in truth["characters"]:
        character = characters[true["name"]]
        assert character.prompt == true["prompt"]
        height_px = np.ptp([joint[1] for joint in true["joints"].values()])
        found = dict(zip(KEYPOINT_NAMES, character.keypoints, strict=True))
        errors = {n: np.hypot(found[n].x - x, found[n].y - y) / height_px for n, (x, y, _) in true["joints"].items()}
        assert max(errors[n] for n in LIMBS) <= 0.0002
        assert np.mean(list(errors.values())) <= 0.001
        assert max(errors.values()) <= 0.003
        assert all(abs(found[n].depth - depth) < 0.005 for n, (_, _, depth) in true["joints"].items())
        hidden = {joint for person, joint in HIDDEN[name] if person == true["name"]}
        assert {joint for joint, keypoint in found.items() if keypoint.state == "occluded"} == hidden
        assert {keypoint.state for keypoint in character.keypoints} <= {"visible", "occluded"}
        assert {keypoint.hidden_by for keypoint in character.keypoints} <= {None, "own_body", "own_head"}


def test_an_export_leaves_the_scene_as_it_is_and_repeats_itself(blender: Any, example: Example) -> None:
    example("duo")
    before = snapshot(blender)
    first, _ = export_request(blender.context)
    assert snapshot(blender) == before
    assert request_to_json(export_request(blender.context)[0]) == request_to_json(first)


def snapshot(bpy: Any) -> list[Any]:
    objects = [(o.name, [*map(tuple, o.matrix_world)], o.hide_get(), o.select_get()) for o in bpy.context.scene.objects]
    data = [len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "armatures", "actions", "images", "texts")]
    return [objects, data, bpy.context.scene.frame_current, bpy.context.scene.render.resolution_x]


def test_another_size_sees_what_blender_would_render_at_it(blender: Any, example: Example) -> None:
    example("plaza")
    half, _ = export_request(blender.context, width=768, height=512)
    scaled = resized(export_request(blender.context)[0], 768, 512)
    for one, other in zip(half.characters, scaled.characters, strict=True):
        np.testing.assert_allclose([(k.x, k.y) for k in one.keypoints], [(k.x, k.y) for k in other.keypoints], atol=1e-3)
    tall, _ = export_request(blender.context, width=1024, height=1536)  # the sensor fits the longer side
    assert tall.camera and half.camera and tall.camera.fy == pytest.approx(1536 * 40 / 36)


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_the_camera_agrees_with_blenders_own_view_of_a_point(blender: Any, example: Example, kind: str) -> None:
    from bpy_extras.object_utils import world_to_camera_view

    example("duo")
    scene = blender.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.render.pixel_aspect_y = 1536, 1024, 1.25
    camera = scene.camera
    camera.data.type, camera.data.sensor_fit = kind, "VERTICAL"
    camera.data.shift_x, camera.data.shift_y, camera.data.ortho_scale = 0.1, -0.05, 5
    camera.rotation_euler.z += 0.1
    camera.scale = (2, 2, 2)
    blender.context.view_layer.update()
    request, _ = export_request(blender.context)
    for character in request.characters:
        rig = blender.data.objects[character.name]
        bone = rig.pose.bones["hand_l" if "hand_l" in rig.pose.bones else "DEF-hand.L"]
        u, v, depth = world_to_camera_view(scene, camera, rig.matrix_world @ bone.head)
        wrist = character.keypoints[KEYPOINT_NAMES.index("LWrist")]
        assert (wrist.x, wrist.y) == pytest.approx((u * 1536, (1 - v) * 1024), abs=0.05)
        assert wrist.depth == pytest.approx(depth, abs=1e-4)


def test_a_parent_moves_the_joints_and_units_turn_into_metres(blender: Any, example: Example) -> None:
    example("duo")
    before = export_request(blender.context)[0].characters[0].keypoints[0]
    empty = blender.data.objects.new("Crane", None)
    blender.context.scene.collection.objects.link(empty)
    blender.data.objects["Eve"].parent = empty
    empty.location.z = 0.2
    blender.context.view_layer.update()
    after = export_request(blender.context)[0].characters[0].keypoints[0]
    assert after.y < before.y - 20
    blender.context.scene.unit_settings.scale_length = 0.01
    in_metres = export_request(blender.context)[0].characters[0].keypoints[0]
    assert (in_metres.x, in_metres.y) == pytest.approx((after.x, after.y), abs=1e-6)
    assert in_metres.depth == pytest.approx(after.depth / 100)


def test_joints_behind_the_camera_outside_the_frame_and_without_a_bone_say_so(blender: Any, example: Example) -> None:
    example("duo")
    camera, eve = blender.context.scene.camera, blender.data.objects["Eve"]
    eve.location.x -= 1
    eve.data.bones["hand_l"].name, eve.data.bones["hand_r"].use_deform = "paw", False  # so that its shape is no help
    blender.data.objects["Flo"].location = (0, camera.location.y + 0.3, -0.4)  # her trailing foot is behind it
    blender.context.view_layer.update()
    states = {
        one.name: {name: keypoint.state for name, keypoint in zip(KEYPOINT_NAMES, one.keypoints, strict=True)}
        for one in export_request(blender.context)[0].characters
    }
    assert states["Eve"]["LWrist"] == "missing"
    assert states["Eve"]["RShoulder"] == "outside"
    assert states["Eve"]["LShoulder"] == "occluded"  # Flo's head is in front of it
    assert {"behind", "visible"} <= set(states["Flo"].values())


def test_each_refusal_names_the_thing_and_leaves_the_scene(blender: Any, example: Example) -> None:
    example("duo")
    scene, eve = blender.context.scene, blender.data.objects["Eve"]

    def refusal(kind: type[Exception] = RequestError) -> str:
        before = snapshot(blender)
        with pytest.raises(kind) as caught:
            export_request(blender.context)
        assert snapshot(blender) == before
        return str(caught.value)

    scene.render.resolution_x = 1001
    assert "multiple of 8" in refusal()
    scene.render.resolution_x = 1024
    scene.beyondscene.prompt = " "
    assert "scene prompt is empty" in refusal()
    scene.beyondscene.prompt = "a field"
    eve.beyondscene.prompt = ""
    assert "prompt of 'Eve' is empty" in refusal()
    eve.beyondscene.prompt = "a person"
    eve.location.x = blender.data.objects["Flo"].location.x = 50
    blender.context.view_layer.update()
    assert "Nobody would be in the picture: 'Eve' stands wholly outside the 1024x1024 frame, and 1 more" in refusal(ExportError)
    scene.camera.scale = (0, 0, 0)
    blender.context.view_layer.update()
    assert "'Camera' has a scale of 0" in refusal(ExportError)
    scene.camera.scale, scene.camera.data.type = (1, 1, 1), "PANO"
    blender.context.view_layer.update()
    assert "neither perspective nor orthographic" in refusal(ExportError)
    scene.camera = None
    assert "has no camera" in refusal(ExportError)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [
        ("location", (50, 0, 0), "stands wholly outside the 1024x1024 frame"),
        ("location", (0, -50, 0), "has no joint in front of the camera"),
        ("location", (np.nan, 0, 0), "has no joint in front of the camera"),
        ("scale", (0.001, 0.001, 0.001), "spans 0 px, but a person can be drawn from 8 px on"),
    ],
)
def test_who_is_not_in_the_frame_is_left_out_and_said(
    blender: Any, example: Example, attribute: str, value: Any, why: str
) -> None:
    example("duo")
    whole, _ = export_request(blender.context)
    assert find_left_out(blender.context) == [] and "Left out" not in drawn(panels.BEYONDSCENE_PT_characters)
    setattr(blender.data.objects["Eve"], attribute, value)
    blender.context.view_layer.update()
    request, arrays = export_request(blender.context)
    (flo,) = request.characters
    assert flo.name == "Flo" and len(arrays) == 1
    assert [k.x for k in flo.keypoints] == [k.x for k in whole.characters[1].keypoints]
    assert [(one.name, reason) for one, reason in find_left_out(blender.context)] == [("Eve", why)]
    assert f"Left out: {why}" in drawn(panels.BEYONDSCENE_PT_characters)
    controls = gather_controls(blender.context, surfaces=False)
    assert controls.left_out == (f"Eve {why}",) and len(controls.colours) == 1
    blender.data.objects["Eve"].beyondscene.enabled = False
    assert find_left_out(blender.context) == []


def test_who_is_scaled_to_nothing_is_left_out_where_the_rig_then_divides_by_that(blender: Any, example: Example) -> None:
    example("duo")
    blender.data.objects["Flo"].scale = (0, 0, 0)
    blender.context.view_layer.update()
    request, arrays = export_request(blender.context)
    assert [one.name for one in request.characters] == ["Eve"] and len(arrays) == 1
    assert [who.name for who, _ in find_left_out(blender.context)] == ["Flo"]


def test_the_command_line_says_who_is_left_out(
    blender: Any, example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example("duo")
    blender.data.objects["Eve"].location.x = 50
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert main(["export", str(tmp_path / "scene.blend"), "-o", str(tmp_path / "request.json"), "--size", "256x256"]) == 0
    output = capsys.readouterr()
    assert output.err == "Left out: 'Eve' stands wholly outside the 256x256 frame.\n"
    assert "256x256, 1 characters" in output.out


def test_an_armature_that_is_no_person_is_off_until_it_is_switched_on(blender: Any, example: Example) -> None:
    example("duo")
    crane = blender.data.objects.new("Crane", blender.data.armatures.new("Crane"))
    blender.context.scene.collection.objects.link(crane)
    assert [one.name for one in export_request(blender.context)[0].characters] == ["Eve", "Flo"]
    assert "Off, since its bones are not plainly a person's" in drawn(panels.BEYONDSCENE_PT_characters)
    assert not crane.beyondscene.drawn and blender.data.objects["Eve"].beyondscene.drawn
    crane.beyondscene.drawn = True
    shown = drawn(panels.BEYONDSCENE_PT_characters)
    assert crane.beyondscene.enabled and "Off, since" not in shown and "Left out" not in shown
    assert "until its joints are named under Joints" in shown
    with pytest.raises(ExportError, match=r"'Crane' match no rig family \(16 tried; the best, .* 0%\).*name its joints"):
        export_request(blender.context)
    crane.beyondscene.drawn = False
    assert len(export_request(blender.context)[0].characters) == 2
    for name in ("Eve", "Eve.body", "Flo", "Flo.body"):
        blender.data.objects[name].hide_set(True)
    with pytest.raises(ExportError, match=r"shows no armature that is switched on.*'Eve' or its collection is hidden"):
        export_request(blender.context)
    crane.beyondscene.property_unset("enabled")
    with pytest.raises(ExportError, match=r"'Crane' is off since its bones are not plainly a person's: tick it in"):
        export_request(blender.context)


def test_a_rig_that_is_described_is_not_switched_off_by_itself(blender: Any, example: Example) -> None:
    example("duo")
    crane = blender.data.objects.new("Crane", blender.data.armatures.new("Crane"))
    blender.context.scene.collection.objects.link(crane)
    crane.beyondscene.prompt = "a robot"
    with pytest.raises(ExportError, match=r"'Crane' match no rig family"):
        export_request(blender.context)
