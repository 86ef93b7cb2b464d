"""Somebody to pose, for whoever has no rig."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import panels
from beyondscene.addon.exporters import export_request, find_people
from beyondscene.protocol import KEYPOINT_NAMES
from beyondscene.protocol.scene import SEEN
from mathutils import Matrix, Vector

from .drawing import drawn


def drag(rig: Any, bone: str, by: Sequence[float]) -> None:
    rig.pose.bones[bone].matrix = Matrix.Translation(Vector(by)) @ rig.pose.bones[bone].matrix


def end_of(rig: Any, bone: str) -> np.ndarray:
    return np.array(rig.matrix_world @ rig.pose.bones[bone].head)


@pytest.fixture
def rig(blender: Any) -> Any:
    """1.6 m, beside the middle of Blender's first scene."""
    blender.ops.wm.read_factory_settings()
    blender.data.objects.remove(blender.data.objects["Cube"])
    blender.context.scene.cursor.location = (1, 0, 0)
    blender.context.scene.cursor.rotation_euler = (1, 0, 0)
    assert "Add Person" in drawn(panels.BEYONDSCENE_PT_characters)
    assert blender.ops.beyondscene.add_person(height=1.6) == {"FINISHED"}
    return blender.context.object


def test_a_figure_stands_at_the_cursor_and_is_somebody_in_the_picture(blender: Any, rig: Any) -> None:
    (person,) = find_people(blender.context.view_layer)
    assert person.enabled and (person.match.label, person.match.limbs_found) == ("Basic rig", 12)
    assert (rig.mode, rig.select_get()) == ("OBJECT", True)
    (body,) = rig.children
    corners = np.array([body.matrix_world @ vertex.co for vertex in body.data.vertices])
    assert -0.03 < corners[:, 2].min() < 0.02 and 1.6 < corners[:, 2].max() < 1.7
    assert abs(corners[:, 0].mean() - 1) < 0.01 and corners[:, 1].min() < -0.15  # the feet point to -Y
    blender.context.scene.camera.location, blender.context.scene.camera.rotation_euler = (1, -5, 0.8), (np.pi / 2, 0, 0)
    blender.context.scene.beyondscene.prompt = "a city plaza"
    rig.beyondscene.prompt = "a man in a red shirt"
    request, arrays = export_request(blender.context, width=128, height=128)
    (figure,) = request.characters
    points = dict(zip(KEYPOINT_NAMES, figure.keypoints, strict=True))
    assert all(point.state != "outside" for point in points.values())
    assert points["LWrist"].x > points["RWrist"].x and points["Nose"].y < points["Neck"].y < points["LHip"].y
    assert figure.mask and 300 < (arrays[figure.mask.digest] == SEEN).sum() < 3000


def test_its_rings_pull_hands_and_feet_and_its_skin_goes_along(blender: Any, rig: Any) -> None:
    rest, ankle, way = end_of(rig, "hand.R"), end_of(rig, "foot.L"), (-0.1, -0.3, 0.6)
    wrist = rest + np.array(way)
    drag(rig, "hand_handle.R", way)
    drag(rig, "hips", (0, 0, -0.1))
    blender.context.view_layer.update()
    np.testing.assert_allclose(end_of(rig, "hand.R"), wrist - (0, 0, 0.1), atol=2e-3)  # which the chest carries
    np.testing.assert_allclose(end_of(rig, "foot.L"), ankle, atol=2e-3)  # which stays where it stands
    assert end_of(rig, "shin.L")[1] < ankle[1] - 0.1 and end_of(rig, "forearm.R")[1] > wrist[1]  # knees forwards, elbows back
    ends = [np.array(rig.pose.bones[name].tail - rig.pose.bones[name].head) for name in ("forearm.R", "hand.R")]
    assert np.dot(*ends) > 0.98 * np.prod([np.linalg.norm(end) for end in ends])  # a hand goes along with its arm
    body = rig.children[0].evaluated_get(blender.context.evaluated_depsgraph_get())
    skin = np.array([body.matrix_world @ vertex.co for vertex in body.data.vertices])
    near, gone = (np.linalg.norm(skin - place, axis=1).min() for place in (end_of(rig, "hand.R"), rest))
    assert near < 0.05 < 0.15 < gone


@pytest.mark.parametrize(
    ("limb", "forwards", "way"),
    [
        *((("foot_handle.L", "shin.L", "foot.L"), 1, way) for way in ((0, -0.4, 0.4), (-0.1, -0.3, 0.1), (0, 0.3, 0.3))),
        *((("hand_handle.L", "forearm.L", "hand.L"), -1, way) for way in ((-0.3, -0.15, 0.8), (-0.25, 0, 0.75))),
    ],
)
def test_knees_bend_forwards_and_elbows_backwards(
    blender: Any, rig: Any, limb: tuple[str, str, str], forwards: int, way: tuple[float, float, float]
) -> None:
    """However a foot or a hand is dragged: as to sit, to step, to salute."""
    handle, middle, end = limb
    place = end_of(rig, end) + way
    drag(rig, handle, way)
    blender.context.view_layer.update()
    np.testing.assert_allclose(end_of(rig, end), place, atol=2e-3)
    begin = end_of(rig, rig.pose.bones[middle].parent.name)
    assert forwards * (end_of(rig, middle)[1] - (begin + place)[1] / 2) < -0.02


def test_people_have_rigs_of_their_own_and_share_the_ring(blender: Any, rig: Any) -> None:
    blender.ops.object.mode_set(mode="POSE")
    assert blender.ops.beyondscene.add_person() == {"FINISHED"}
    other = blender.context.object
    assert other != rig and other.data != rig.data and not rig.select_get()
    rings = {one.pose.bones[name].custom_shape for one in (rig, other) for name in ("hand_handle.L", "foot_handle.R")}
    assert len(rings) == 1 and not next(iter(rings)).users_scene
    assert len(find_people(blender.context.view_layer)) == 2


def test_whoever_was_added_is_duplicated_and_deleted_with_the_body(blender: Any, rig: Any) -> None:
    assert blender.ops.object.duplicate() == {"FINISHED"}
    other = blender.context.object
    (body,) = other.children
    assert other != rig and body != rig.children[0] and body.modifiers["Armature"].object == other
    assert {one.constraints["IK"].target for one in other.pose.bones if "IK" in one.constraints} == {other}
    assert blender.ops.object.delete() == {"FINISHED"}
    assert [one.type for one in blender.context.scene.objects].count("MESH") == 1


def test_where_a_person_could_not_be_seen_none_is_added(blender: Any, rig: Any) -> None:
    view_layer = blender.context.view_layer
    layer = view_layer.layer_collection.children["Collection"]
    for holder, where in ((layer, "hide_viewport"), (layer.collection, "hide_viewport"), (layer.collection, "hide_render")):
        setattr(holder, where, True)
        view_layer.active_layer_collection = layer
        with pytest.raises(RuntimeError, match="'Collection' is hidden: show it in the Outliner, or click another"):
            blender.ops.beyondscene.add_person()
        setattr(holder, where, False)
    assert blender.ops.beyondscene.add_person() == {"FINISHED"}
    blender.ops.scene.new(type="NEW")  # whose own collection calls itself invisible
    assert blender.ops.beyondscene.add_person() == {"FINISHED"}


def test_beside_a_linked_person_another_is_this_files_own(blender: Any, rig: Any, tmp_path: Path) -> None:
    blender.data.collections["Collection"].name = "Cast"
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cast.blend"))
    blender.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with blender.data.libraries.load(str(tmp_path / "cast.blend"), link=True) as (_, wanted):
        wanted.collections = ["Cast"]
    scene, view_layer = blender.context.scene, blender.context.view_layer
    linked: Any = wanted.collections[0]
    scene.collection.children.link(linked)
    linked.override_hierarchy_create(scene, view_layer)
    assert blender.ops.beyondscene.add_person() == {"FINISHED"}
    assert not blender.context.object.pose.bones["hand_handle.L"].custom_shape.library
    view_layer.active_layer_collection = view_layer.layer_collection.children[-1]  # the override
    with pytest.raises(RuntimeError, match="'Cast' is linked from another file: click another collection"):
        blender.ops.beyondscene.add_person()
