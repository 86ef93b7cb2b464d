"""Faces: seventy points from bones or from the mesh of a head, and their states."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.controls.strokes import Style, gather_strokes
from beyondscene.addon.exporters import best_match, export_request, load_families
from beyondscene.addon.exporters.chosen import gather_chosen
from beyondscene.addon.exporters.face import LEFT_HALF, PART, nearest_hit
from beyondscene.addon.exporters.rigs import Anchor, match_names
from beyondscene.addon.exporters.view import View
from beyondscene.protocol import (
    FACE_DISC_SHARE,
    FACE_NAMES,
    KEYPOINT_NAMES,
    Character,
    Keypoint,
    RenderRequest,
    request_from_json,
    request_to_json,
)
from msgspec.structs import replace

from .skeletons import SKELETONS, build_rig
from .test_sight import add_box

Example = Callable[[str], dict[str, Any]]

# Vertices of MakeHuman's body by the point of the face that they lie at: the tip of the nose is MPFB's own, the others were
# looked up in its wire frame.
VERTICES = {
    "Bridge4": 5134, "Bridge1": 133, "LipTop": 455, "LipBottom": 496, "LLipTop1": 7215, "LLipTop2": 7170, "LipCorner": 7182,
    "LBrow2": 7006, "LBrow4": 6998, "LLid4": 6812, "LNostril2": 7088, "Septum": 307, "Chin": 5225,
}  # fmt: skip
TOLERANCE_M = 0.009  # half of it is the distance of the vertex from the point


def face_of(character: Character) -> dict[str, Keypoint]:
    assert character.face
    return dict(zip(FACE_NAMES, character.face, strict=True))


def widen(blender: Any, name: str, factor: float) -> None:
    """Give the mesh called `name` a shape key that makes it as many times as wide."""
    key = blender.data.objects[name].shape_key_add(name="width", from_mix=False)
    for vertex in key.data:
        vertex.co.x *= factor
    key.value = 1
    blender.context.view_layer.update()


def count_dots(request: RenderRequest, person: int) -> int:
    request = replace(request, settings=replace(request.settings, hidden_joints="keep"))
    strokes = gather_strokes(request, request.characters[person], Style(face=True))
    return sum(stroke.width == FACE_DISC_SHARE for stroke in strokes)


@pytest.mark.parametrize("name", ["plaza", "duo"])
def test_points_lie_where_the_mesh_has_its_features(blender: Any, example: Example, name: str) -> None:
    example(name)
    request, _ = export_request(blender.context)
    assert request.camera and request_from_json(request_to_json(request)) == request
    depsgraph = blender.context.evaluated_depsgraph_get()
    for character in request.characters:
        face, body = face_of(character), blender.data.objects[f"{character.name}.body"].evaluated_get(depsgraph)
        assert {"visible", "occluded"} >= {point.state for point in face.values()}
        mesh = body.to_mesh()
        errors_m = {}
        for point, vertex in VERTICES.items():
            found = face[point if point in face else f"L{point}"]
            place = np.array(body.matrix_world @ mesh.vertices[vertex].co)
            true = View(request.camera, request.width, request.height, near=0.01, far=100, metres=1).project(place)
            errors_m[point] = np.hypot(found.x - true.x, found.y - true.y) * true.depth / request.camera.fx
        parts = {PART[FACE_NAMES.index(name)] for name in best_match(blender.data.objects[character.name]).face}
        by_bone = {point for point in errors_m if PART[FACE_NAMES.index(point if point in face else f"L{point}")] in parts}
        assert max(errors_m[point] for point in errors_m.keys() - by_bone) < TOLERANCE_M, errors_m
        assert max((errors_m[point] for point in by_bone), default=0) < 2 * TOLERANCE_M, errors_m


def test_from_behind_nothing_of_a_face_is_seen_or_drawn(blender: Any, example: Example) -> None:
    example("duo")
    eve = blender.data.objects["Eve"]
    eve.rotation_euler.z += np.pi
    blender.context.view_layer.update()
    request, _ = export_request(blender.context)
    hiders = [point.hidden_by for point in face_of(request.characters[0]).values()]
    assert hiders.count("own_body") > 60
    assert [count_dots(request, 0), count_dots(request, 1)] == [0, 0]  # the second is too small for a picture of this size
    close = replace(request, width=256, height=256)
    assert count_dots(close, 0) < 10 and count_dots(close, 1) > 50


def test_a_head_of_another_shape_is_followed(blender: Any, example: Example) -> None:
    example("duo")
    request, _ = export_request(blender.context)
    before = face_of(request.characters[0])
    widen(blender, "Eve.body", 0.93)
    request, _ = export_request(blender.context)
    after = face_of(request.characters[0])
    width = [face["LJaw2"].x - face["RJaw2"].x for face in (before, after)]
    assert width[1] < 0.97 * width[0]


def test_nose_and_ears_move_with_the_mesh_of_the_head(blender: Any, example: Example) -> None:
    example("duo")
    names = [KEYPOINT_NAMES.index(name) for name in ("Nose", "REar", "LEar")]
    before = [export_request(blender.context)[0].characters[0].keypoints[name] for name in names]
    widen(blender, "Eve.body", 1.06)
    after = [export_request(blender.context)[0].characters[0].keypoints[name] for name in names]
    moved = [np.hypot(a.x - b.x, a.y - b.y) for a, b in zip(after, before, strict=True)]
    assert max(moved[1:]) > 0.7 and moved[0] < 0.5  # px: ears outwards, the nose stays


def test_who_has_neither_bones_nor_a_head_has_no_face(blender: Any, example: Example) -> None:
    example("duo")
    blender.data.objects["Eve.body"].hide_render = True
    request, _ = export_request(blender.context)
    assert request.characters[0].face is None
    blender.data.objects["Flo.body"].hide_render = True
    face = face_of(export_request(blender.context)[0].characters[1])  # a generated Rigify has bones for some
    assert face["Chin"].state == "visible" and face["LLid1"].state == "missing"
    blender.data.objects["Flo"].rotation_euler.z += np.pi
    blender.context.view_layer.update()
    face = face_of(export_request(blender.context)[0].characters[1])
    assert {point.state for point in face.values()} == {"missing", "occluded"}


def test_something_before_a_face_hides_it(blender: Any, example: Example) -> None:
    example("duo")
    before = face_of(export_request(blender.context)[0].characters[0])
    rig = blender.data.objects["Eve"]
    nose = rig.matrix_world @ rig.pose.bones["head"].tail
    camera = blender.context.scene.camera.matrix_world.translation
    add_box(blender, "Board", (0.6, 0.02, 0.6), nose.lerp(camera, 0.2))
    after = face_of(export_request(blender.context)[0].characters[0])
    assert before["Bridge4"].state == "visible" and {point.hidden_by for point in after.values()} == {"prop"}


def test_every_family_names_points_that_there_are() -> None:
    parts = {name[1:] if name[0] in "RL" and name not in ("LipTop", "LipBottom") else name for name in FACE_NAMES}
    for family in load_families():
        assert set(family.face) <= parts | {"LipTop1", "LipTop2", "LipBottom1", "LipBottom2", "LipCorner"}, family.label
    daz = {part.format(side=side) for part in SKELETONS["daz genesis 8"].names.values() for side in "rl"}
    match = match_names((*daz, "rLipCorner", "lLipCorner", "LipUpperMiddle", "lBrowMid"))
    assert match.face == {
        "RLipCorner": Anchor("rLipCorner"),
        "LLipCorner": Anchor("lLipCorner"),
        "LipTop": Anchor("LipUpperMiddle"),
        "LBrow3": Anchor("lBrowMid"),
    }


def test_the_points_are_seventy_and_symmetric() -> None:
    assert len(FACE_NAMES) == len(set(FACE_NAMES)) == 70
    assert {name for name in FACE_NAMES if name in LEFT_HALF} == LEFT_HALF.keys()
    assert {f"L{name[1:]}" for name in FACE_NAMES if name not in LEFT_HALF} <= LEFT_HALF.keys()


def test_a_ray_meets_the_surface_nearest_to_its_end() -> None:
    wall = np.array([[0.0, -1, -1], [0, 2, -1], [0, -1, 2]])
    walls = np.stack([wall + np.array([distance, 0, 0]) for distance in (0.5, 1.9, 3.0)])
    assert nearest_hit(np.zeros(3), np.array([2.0, 0, 0]), walls) == pytest.approx(0.95)
    assert nearest_hit(np.zeros(3), np.array([-2.0, 0, 0]), walls) == np.inf
    assert nearest_hit(np.zeros(3), np.array([0.0, 0, 1]), walls) == np.inf


def test_a_rig_without_a_body_has_no_face(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    rig.beyondscene.prompt, blender.context.scene.beyondscene.prompt = "a person", "a field"
    camera = blender.data.objects.new("Camera", blender.data.cameras.new("Camera"))
    blender.context.scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (0, -6, 1), (np.pi / 2, 0, 0)
    blender.context.scene.camera = camera
    blender.context.view_layer.update()
    assert export_request(blender.context)[0].characters[0].face is None


def test_a_mouth_that_bones_open_opens_as_a_whole(blender: Any, example: Example) -> None:
    example("duo")
    rig = blender.data.objects["Flo"]
    before = face_of(export_request(blender.context)[0].characters[1])
    rig.pose.bones["jaw_master"].rotation_mode = "XYZ"
    rig.pose.bones["jaw_master"].rotation_euler.x = 0.3
    blender.context.view_layer.update()
    after = face_of(export_request(blender.context)[0].characters[1])
    down = {name: after[name].y - before[name].y for name in ("LipBottom", "MouthBottom", "LLipBottom1", "LipTop", "LBrow2")}
    assert min(down[name] for name in ("LipBottom", "MouthBottom", "LLipBottom1")) > 1  # px
    assert abs(down["LBrow2"]) < 0.5 and down["LipTop"] < down["LipBottom"]


def test_a_point_lies_at_the_vertices_that_were_chosen_for_it_and_follows_shape_keys(blender: Any, example: Example) -> None:
    example("duo")
    body = blender.data.objects["Eve.body"]
    before = face_of(export_request(blender.context)[0].characters[0])
    blender.context.view_layer.objects.active = body
    body.select_set(True)
    choose_point(blender, body, "Chin", [VERTICES["Septum"]])
    chosen = face_of(export_request(blender.context)[0].characters[0])
    moved = {name for name in FACE_NAMES if np.hypot(chosen[name].x - before[name].x, chosen[name].y - before[name].y) > 0.5}
    assert "Chin" in moved and "Bridge4" not in moved  # the jaw goes with its chin
    assert chosen["Chin"].y < before["Chin"].y

    if body.data.shape_keys is None:
        body.shape_key_add(name="Basis")
    key = body.shape_key_add(name="Frown", from_mix=False)
    key.data[VERTICES["Septum"]].co.z -= 0.2
    key.value = 1.0
    blender.context.view_layer.update()
    assert face_of(export_request(blender.context)[0].characters[0])["Chin"].y > chosen["Chin"].y + 5

    choose_point(blender, body, "Chin", [])
    key.value = 0.0
    blender.context.view_layer.update()
    assert face_of(export_request(blender.context)[0].characters[0]) == before


def test_a_chosen_point_does_not_lie_between_a_vertex_and_the_copy_that_a_mirror_adds(blender: Any) -> None:
    head = blender.data.objects.new("Head", blender.data.meshes.new("Head"))
    head.data.from_pydata([(1, 0, 0), (2, 0, 0), (2, 0, 1)], [], [(0, 1, 2)])
    blender.context.scene.collection.objects.link(head)
    head.vertex_groups.new(name="Face LBrow3").add([1], 1.0, "REPLACE")
    for kind in ("MIRROR", "SUBSURF"):
        head.modifiers.new(kind, kind)
        evaluated = head.evaluated_get(blender.context.evaluated_depsgraph_get())
        assert gather_chosen(evaluated, evaluated.to_mesh())["LBrow3"][0] > 1.5


def choose_point(blender: Any, body: Any, name: str, vertices: list[int]) -> None:
    for vertex in body.data.vertices:
        vertex.select = vertex.index in vertices
    for edge in (*body.data.edges, *body.data.polygons):
        edge.select = False
    assert not blender.ops.beyondscene.choose_face_point.poll()
    blender.ops.object.mode_set(mode="EDIT")
    assert blender.ops.beyondscene.choose_face_point(point=name) == {"FINISHED"}
    blender.ops.object.mode_set(mode="OBJECT")
