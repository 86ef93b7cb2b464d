"""Who is found: rigs by themselves, in instanced and nested collections, linked, hidden, excluded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import joints, panels
from beyondscene.addon.exporters import ExportError, export_request, find_people, people
from beyondscene.addon.history import restore
from beyondscene.protocol import (
    FACE_NAMES,
    FEET_NAMES,
    HAND_NAMES,
    KEYPOINT_NAMES,
    SEEN,
    Character,
    RenderRequest,
)
from beyondscene.protocol.record import make_record

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def store(bpy: Any, name: str, *things: Any) -> Any:
    """A collection of `things`, which are nowhere else, outside the scene."""
    stored = bpy.data.collections.new(name)
    for thing in things:
        for collection in thing.users_collection:
            collection.objects.unlink(thing)
        stored.objects.link(thing)
    return stored


def instance(bpy: Any, name: str, collection: Any, location: tuple[float, float, float] = (0, 0, 0)) -> Any:
    empty = bpy.data.objects.new(name, None)
    empty.instance_type, empty.instance_collection, empty.location = "COLLECTION", collection, location
    bpy.context.scene.collection.objects.link(empty)
    bpy.context.view_layer.update()
    return empty


def export(bpy: Any) -> tuple[dict[str, Character], dict[str, np.ndarray], RenderRequest]:
    """Characters and where each is seen, bool (height, width), by name."""
    request, arrays = export_request(bpy.context)
    masks = {one.name: arrays[one.mask.digest] == SEEN for one in request.characters if one.mask}
    return {one.name: one for one in request.characters}, masks, request


def eve(bpy: Any) -> tuple[Any, Any]:
    return bpy.data.objects["Eve"], bpy.data.objects["Eve.body"]


def test_an_instanced_rig_is_a_person_where_its_instance_stands(blender: Any, example: Example) -> None:
    example("duo")
    rig, _ = eve(blender)
    place = rig.location.copy()
    rig.location = (place.x + 0.2, place.y + 0.5, place.z)
    blender.context.view_layer.update()
    expected, expected_masks, _ = export(blender)
    rig.location = place
    instance(blender, "Twin", store(blender, "Stored", *eve(blender)), (0.2, 0.5, 0))
    found, masks, request = export(blender)
    assert [one.id for one in request.characters] == ["Flo", "Twin/Eve"]
    twin = found["Twin"]
    assert twin.prompt == expected["Eve"].prompt
    np.testing.assert_allclose(
        [(k.x, k.y, k.depth) for k in twin.keypoints], [(k.x, k.y, k.depth) for k in expected["Eve"].keypoints], atol=1e-2
    )
    assert [k.state for k in twin.keypoints] == [k.state for k in expected["Eve"].keypoints]
    assert np.mean(masks["Twin"] != expected_masks["Eve"]) < 1e-4


def test_what_somebody_in_an_instance_carries_as_an_instance_is_theirs(blender: Any, example: Example) -> None:
    example("duo")
    rig, body = eve(blender)
    before = export(blender)[1]["Eve"]
    shield = blender.data.meshes.new("Shield")
    shield.from_pydata([(-0.5, -0.4, 0.8), (0.5, -0.4, 0.8), (0, -0.4, 1.6)], [], [(0, 1, 2)])
    holder = instance(blender, "Holder", store(blender, "Shields", blender.data.objects.new("Shield", shield)))
    holder.parent = rig
    blender.context.view_layer.update()
    expected = export(blender)[1]["Eve"]
    assert expected.sum() > before.sum() + 1000
    instance(blender, "Twin", store(blender, "Stored", rig, body, holder))
    assert np.mean(export(blender)[1]["Twin"] != expected) < 1e-4


def test_each_instance_is_somebody_of_their_own(blender: Any, example: Example) -> None:
    example("duo")
    stored = store(blender, "Stored", *eve(blender))
    left, right = instance(blender, "Left", stored, (-0.5, 0.3, 0)), instance(blender, "Right", stored, (0.6, 0.6, 0))
    left.beyondscene.prompt, right.beyondscene.negative_prompt = "a baker", "hat"
    found, masks, _ = export(blender)
    assert sorted(found) == ["Flo", "Left", "Right"]
    assert found["Left"].prompt == "a baker" and found["Right"].prompt == blender.data.objects["Eve"].beyondscene.prompt
    assert (found["Left"].negative_prompt, found["Right"].negative_prompt) == ("", "hat")
    assert masks["Left"].any() and masks["Right"].any() and not (masks["Left"] & masks["Right"]).any()
    columns = [np.nonzero(masks[name])[1].mean() for name in ("Left", "Right")]
    assert columns[0] < columns[1] - 100
    right.beyondscene.enabled = False
    found, masks, _ = export(blender)
    assert sorted(found) == sorted(masks) == ["Flo", "Left"]
    left.hide_set(True)
    blender.context.view_layer.update()
    assert sorted(export(blender)[0]) == ["Flo"]


def mirror_by_bone(rig: Any) -> None:
    """Let the bones above all others have the scale of -1 along x of the world."""
    world = np.array(rig.matrix_world)
    mirror = np.linalg.inv(world) @ np.diag([-1.0, 1, 1, 1]) @ world
    for bone in rig.pose.bones:
        if bone.parent is None:
            bone.matrix = type(bone.matrix)((mirror @ np.array(bone.matrix)).tolist())


@pytest.mark.parametrize(
    "mirrors", [("rig",), ("bone",), ("instance",), ("camera",), ("rig", "camera"), ("bone", "camera")], ids=" and ".join
)
def test_a_mirrored_person_has_left_and_right_as_they_are_seen(
    blender: Any, example: Example, mirrors: tuple[str, ...]
) -> None:
    example("duo")  # whose camera looks along the plane of the mirror
    rig, body = eve(blender)
    body.vertex_groups.new(name="Face RBrow3").add([0], 1, "ADD")
    blender.data.objects["Flo"].hide_render = blender.data.objects["Flo.body"].hide_render = True
    (before,) = export(blender)[0].values()
    if "instance" in mirrors:
        instance(blender, "Mirror", store(blender, "Stored", rig, body)).scale.x = -1
    elif "rig" in mirrors:
        rig.parent = blender.data.objects.new("Mirror", None)
        blender.context.scene.collection.objects.link(rig.parent)
        rig.parent.scale.x = -1
    elif "bone" in mirrors:
        mirror_by_bone(rig)
    if "camera" in mirrors:
        blender.context.scene.camera.scale.x = -1
    blender.context.view_layer.update()
    found, _, request = export(blender)
    (after,) = found.values()

    once = len(mirrors) == 1  # twice is not at all

    def seen(names: Sequence[str], points: Any, mirrored: bool = False) -> dict[str, tuple[float, ...]]:
        """Where each is, and whether it is seen; mirrored: as the mirror image of somebody has it."""
        others = {name: {"R": "L", "L": "R"}.get(name[0], name[0]) + name[1:] for name in names}
        called = {name: other if mirrored and other in names else name for name, other in others.items()}
        places = [(request.width - one.x if mirrored else one.x, one.y, one.state == "visible") for one in points]
        return {called[name]: place for name, place in zip(names, places, strict=True)}

    for names, old, new in (
        (KEYPOINT_NAMES, before.keypoints, after.keypoints),
        (FACE_NAMES, before.face, after.face),
        (FEET_NAMES, before.feet, after.feet),
        (HAND_NAMES, before.right_hand, after.left_hand if once else after.right_hand),
        (HAND_NAMES, before.left_hand, after.right_hand if once else after.left_hand),
    ):
        expected, actual = seen(names, old, mirrored=once), seen(names, new)
        for name in names:
            assert actual[name] == pytest.approx(expected[name], abs=0.2), name


def test_a_rig_that_stands_in_the_scene_and_is_instanced_is_two_people(blender: Any, example: Example) -> None:
    example("duo")
    stored = blender.data.collections.new("Stored")
    for thing in eve(blender):
        stored.objects.link(thing)
    instance(blender, "Twin", stored, (0.9, 0.9, 0))
    _, masks, request = export(blender)
    assert [one.id for one in request.characters] == ["Eve", "Flo", "Twin/Eve"]
    assert masks["Eve"].any() and masks["Twin"].any() and not (masks["Eve"] & masks["Twin"]).any()


def test_who_has_the_path_of_another_as_a_name_is_somebody_else(blender: Any, example: Example) -> None:
    example("duo")
    instance(blender, "Crowd", store(blender, "Stored", *eve(blender)))
    instance(blender, "Crowd\\", store(blender, "Other", blender.data.objects["Flo"], blender.data.objects["Flo.body"]))
    for name in ("Crowd/Eve", "Crowd\\/Flo"):
        other = eve(blender)[0].copy()
        other.name = name
        blender.context.scene.collection.objects.link(other)
    blender.context.view_layer.update()
    people = find_people(blender.context.view_layer)
    assert len(people) == len({one.id for one in people}) == 4
    assert {"Crowd/Eve", "Crowd\\/Eve"} <= {one.id for one in people}


def test_people_with_long_paths_of_instances_differ_and_are_known_again(blender: Any, example: Example) -> None:
    example("duo")
    cast = store(blender, "Cast", *eve(blender), *(blender.data.objects[name] for name in ("Flo", "Flo.body")))
    inner = instance(blender, "the heroes of the first act, who stand about on the quay".ljust(63, "-"), cast)
    group = store(blender, "Group", inner)
    instance(blender, "everybody who is to be seen in the first act at the harbour".ljust(63, "-"), group)
    request, arrays = export_request(blender.context)
    assert len({one.id for one in request.characters}) == 2
    record = make_record(request, arrays, "embedded", {}, "")
    assert restore(blender.context.scene, blender.context.view_layer, record, request) == ([], [], [])
    assert all(person.enabled for person in find_people(blender.context.view_layer))


def test_who_is_in_the_picture_stays_on_where_a_twin_out_of_it_is_described_in_the_same_place(
    blender: Any, example: Example
) -> None:
    example("duo")
    scene, view_layer = blender.context.scene, blender.context.view_layer
    cast = store(blender, "Cast", *eve(blender), *(blender.data.objects[name] for name in ("Flo", "Flo.body")))
    for name, x in (("Near", 0), ("Out of the frame", 50)):
        instance(blender, name, cast, (x, 0, 0))
    request, arrays = export_request(blender.context)
    record = make_record(request, arrays, "embedded", {}, "")
    assert [one.name for one in request.characters] == ["Near: Eve", "Near: Flo"]
    assert restore(scene, view_layer, record, request) == ([], [], [])
    assert export_request(blender.context)[0].characters == request.characters
    alone = msgspec.structs.replace(request, characters=request.characters[1:])
    assert restore(scene, view_layer, record, alone).switched_off == ["Near: Eve", "Out of the frame: Eve"]
    assert [one.name for one in export_request(blender.context)[0].characters] == ["Near: Flo"]


def test_restored_settings_leave_nothing_to_the_rig_of_an_instance_that_was_said_of_it_since(
    blender: Any, example: Example
) -> None:
    example("duo")
    rig, body = eve(blender)
    cast = store(blender, "Cast", rig, body)
    instance(blender, "Guest", cast)
    request, arrays = export_request(blender.context)
    assert request.characters[1].name == "Guest" and not request.characters[1].part_prompts
    rig.beyondscene.negative_prompt, rig.beyondscene.parts.hair = "a hat", "red"
    rig.beyondscene.loras.add().name = "ink"
    restore(blender.context.scene, blender.context.view_layer, make_record(request, arrays, "embedded", {}, ""), request)
    assert export_request(blender.context)[0].characters == request.characters


def test_restored_settings_leave_linked_people_to_their_library_and_name_them(
    blender: Any, example: Example, tmp_path: Path
) -> None:
    example("duo")
    scene, view_layer = blender.context.scene, blender.context.view_layer
    library = str(tmp_path / "cast.blend")
    blender.data.libraries.write(library, set(eve(blender)))
    for thing in eve(blender):
        blender.data.objects.remove(thing)
    with blender.data.libraries.load(library, link=True) as (_, wanted):
        wanted.objects = ["Eve", "Eve.body"]
    for thing in wanted.objects:
        scene.collection.objects.link(thing)
    view_layer.update()
    request, arrays = export_request(blender.context)
    said, record = request.characters[0].prompt, make_record(request, arrays, "embedded", {}, "")
    other = msgspec.structs.replace(
        request, characters=tuple(msgspec.structs.replace(one, prompt="a diver") for one in request.characters)
    )
    assert restore(scene, view_layer, record, other).linked == ["Eve"]
    assert [one.prompt for one in export_request(blender.context)[0].characters] == [said, "a diver"]


def test_nested_instances_stand_where_blender_puts_them(blender: Any, example: Example) -> None:
    example("duo")
    stored = store(blender, "Stored", *eve(blender), *(blender.data.objects[name] for name in ("Flo", "Flo.body")))
    stored.instance_offset = (0.3, 0.1, 0)
    inner = [instance(blender, name, stored, (x, 0, 0)) for name, x in (("One", -0.9), ("Two", 0.9))]
    inner[1].rotation_euler.z = 0.4
    group = store(blender, "Group", *inner)
    group.instance_offset = (0, 0.2, 0)
    outer = instance(blender, "Crowd", group, (0, 0.5, 0.1))
    outer.scale, outer.rotation_euler.z = (0.5, 0.5, 0.5), 0.2
    blender.context.view_layer.update()

    people = find_people(blender.context.view_layer)
    assert [one.id for one in people] == ["Crowd/One/Eve", "Crowd/One/Flo", "Crowd/Two/Eve", "Crowd/Two/Flo"]
    assert {one.name for one in people} == {"Crowd: Eve", "Crowd: Flo"}
    depsgraph = blender.context.evaluated_depsgraph_get()
    placed = [
        (one.object.name, np.array(one.matrix_world))
        for one in depsgraph.object_instances
        if one.is_instance and one.object.type == "ARMATURE"
    ]
    assert len(placed) == 4
    for person in people:
        ours = person.world(depsgraph)
        assert min(np.abs(world - ours).max() for name, world in placed if name == person.armature.name) < 1e-5

    request, arrays = export_request(blender.context)
    masks = [arrays[one.mask.digest] == SEEN for one in request.characters if one.mask]
    assert len(masks) == 4 and np.sum(masks, axis=0).max() == 1
    for one, mask in zip(request.characters, masks, strict=True):
        seen = [keypoint for keypoint in one.keypoints if keypoint.state == "visible"]
        assert seen and all(mask[int(k.y) - 4 : int(k.y) + 5, int(k.x) - 4 : int(k.x) + 5].any() for k in seen)


def test_an_instance_of_a_linked_collection_is_described_on_the_instance(
    blender: Any, example: Example, tmp_path: Path
) -> None:
    example("duo")
    stored = store(blender, "Cast", *eve(blender))
    stored.use_fake_user = True
    path = str(tmp_path / "cast.blend")
    blender.data.libraries.write(path, {stored})
    example("duo")
    for thing in eve(blender):
        blender.data.objects.remove(thing)
    with blender.data.libraries.load(path, link=True) as (_, wanted):
        wanted.collections = ["Cast"]
    hero = instance(blender, "Hero", blender.data.collections["Cast"])
    hero.beyondscene.prompt = "a diver"
    found, masks, _ = export(blender)
    assert sorted(found) == ["Flo", "Hero"] and found["Hero"].prompt == "a diver"
    assert "cast.blend" in found["Hero"].id
    assert masks["Hero"].any()


def test_what_an_instance_does_not_show_is_not_there(blender: Any, example: Example) -> None:
    example("duo")
    stored = store(blender, "Stored", *eve(blender))
    instance(blender, "Twin", stored)
    rig, body = eve(blender)
    rig.hide_viewport = True
    blender.context.view_layer.update()
    assert [one.name for one in find_people(blender.context.view_layer)] == ["Flo", "Twin"]  # the body is there
    body.hide_viewport = True
    blender.context.view_layer.update()
    assert [one.name for one in find_people(blender.context.view_layer)] == ["Flo"]
    rig.hide_viewport, body.hide_viewport, stored.hide_viewport = False, False, True
    blender.context.view_layer.update()
    assert [one.name for one in find_people(blender.context.view_layer)] == ["Flo"]


@pytest.mark.parametrize("nested", [False, True])
def test_an_instance_that_is_scattered_is_nobody_where_it_stands_itself(blender: Any, example: Example, nested: bool) -> None:
    example("duo")
    twin = instance(blender, "Twin", store(blender, "Eves", *eve(blender)))
    ground = blender.data.objects.new("Ground", blender.data.meshes.new("Ground"))
    blender.context.scene.collection.objects.link(ground)
    if nested:
        instance(blender, "Crowd", store(blender, "Stock", twin, ground))
    assert len(find_people(blender.context.view_layer)) == 2
    twin.parent, ground.instance_type = ground, "VERTS"
    assert [person.name for person in find_people(blender.context.view_layer)] == ["Flo"]


def test_who_is_left_out_of_the_render_of_an_instance_is_not_there(blender: Any, example: Example) -> None:
    example("duo")
    stored = blender.data.collections.new("Stored")
    inner = store(blender, "Inner", *eve(blender))
    stored.children.link(inner)
    twin = instance(blender, "Twin", stored)

    def names() -> list[str]:
        blender.context.view_layer.update()
        return [one.name for one in find_people(blender.context.view_layer)]

    assert names() == ["Flo", "Twin"]
    for thing, setting, value in ((inner, "hide_render", True), (stored, "hide_render", True), (twin, "visible_camera", False)):
        setattr(thing, setting, value)
        assert names() == ["Flo"] and "Twin" not in export(blender)[0]
        setattr(thing, setting, not value)
    assert names() == ["Flo", "Twin"]


@pytest.mark.parametrize("kind", ["MESH", "CURVE", "SURFACE", "META", "FONT"])
def test_a_hidden_rig_is_somebody_whatever_the_body_is_made_of(blender: Any, example: Example, kind: str) -> None:
    example("duo")
    rig, body = eve(blender)
    blender.data.objects.remove(body)
    rig.hide_set(True)
    match kind:
        case "MESH":
            blender.ops.mesh.primitive_cube_add()
        case "META":
            blender.ops.object.metaball_add()
        case "FONT":
            blender.ops.object.text_add()
        case "SURFACE":
            blender.ops.surface.primitive_nurbs_surface_sphere_add()
        case _:
            blender.ops.curve.primitive_bezier_circle_add()
            blender.context.object.parent = rig
            assert [one.name for one in find_people(blender.context.view_layer)] == ["Flo"]  # it is a path
            blender.context.object.data.bevel_depth = 0.2
    assert blender.context.object.type == kind
    blender.context.object.parent = rig
    blender.context.view_layer.update()
    assert sorted(export(blender)[1]) == ["Eve", "Flo"]


def test_of_rigs_that_are_put_aside_nobody_asks_who_they_are(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    store(blender, "Aside", blender.data.objects["Eve"], blender.data.objects["Eve.body"])
    blender.data.objects["Flo"].hide_set(True)
    asked: list[str] = []
    monkeypatch.setattr(people, "is_somebody", lambda rig, ask=people.is_somebody: asked.append(rig.name) or ask(rig))
    assert [person.name for person in find_people(blender.context.view_layer)] == ["Flo"]
    assert asked == ["Flo"]


@pytest.mark.parametrize("how", ["hidden", "disabled", "excluded", "not rendered"])
def test_a_rig_that_is_hidden_so_that_its_mesh_can_be_seen_is_still_a_person(blender: Any, example: Example, how: str) -> None:
    example("duo")
    expected = export_request(blender.context)[0]
    rig, _ = eve(blender)
    match how:
        case "hidden":
            rig.hide_set(True)
        case "disabled":
            rig.hide_viewport = True
        case "not rendered":
            rig.hide_render = True
        case _:
            stored = store(blender, "Rigs", rig)
            blender.context.scene.collection.children.link(stored)
            blender.context.view_layer.layer_collection.children[stored.name].exclude = True
    blender.context.view_layer.update()
    assert export_request(blender.context)[0] == expected
    assert "Eve" in drawn(panels.BEYONDSCENE_PT_characters)
    if how == "excluded":
        with pytest.raises(RuntimeError, match="'Eve' is in a collection that is excluded"):
            blender.ops.beyondscene.select_person(id="Eve")
    else:
        assert blender.ops.beyondscene.select_person(id="Eve") == {"FINISHED"}
        assert "Eve, Unreal" in drawn(joints.BEYONDSCENE_PT_joints)


@pytest.mark.parametrize("kind", ["face", "clothes"])
def test_a_hidden_rig_is_somebody_though_another_deforms_the_body_first(blender: Any, example: Example, kind: str) -> None:
    example("duo")
    rig, body = eve(blender)
    first = blender.data.objects.new("First", blender.data.armatures.new("First") if kind == "face" else rig.data.copy())
    blender.context.scene.collection.objects.link(first)
    first.parent, first.hide_render = rig, True
    blender.context.view_layer.update()
    expected = [one.name for one in export_request(blender.context)[0].characters]
    body.modifiers.new("First", "ARMATURE").object = first
    body.modifiers.move(len(body.modifiers) - 1, 0)
    body.parent = first
    for each in (first, rig):
        each.hide_set(True)
        blender.context.view_layer.update()
        request, arrays = export_request(blender.context)
        assert [one.name for one in request.characters] == expected == ["Eve", "Flo"] and len(arrays) == 2


@pytest.mark.parametrize("how", ["by its parent", "by its bones"])
def test_a_rig_of_clothes_belongs_to_the_person_on_whom_it_hangs_until_it_is_switched_on(
    blender: Any, example: Example, how: str
) -> None:
    example("duo")
    expected = export_request(blender.context)[0]
    rig, body = eve(blender)
    dress, cloth = (thing.copy() for thing in (rig, body))
    dress.name = "Dress"
    dress.beyondscene.property_unset("prompt")
    if how == "by its parent":
        dress.parent, dress.matrix_parent_inverse = rig, rig.matrix_world.inverted()
    else:  # as the rig of a MetaHuman's head
        for bone in dress.pose.bones:
            constraint = bone.constraints.new("COPY_TRANSFORMS")
            constraint.target, constraint.subtarget = rig, bone.name
    cloth.parent, cloth.modifiers["Armature"].object = dress, dress
    for thing in (dress, cloth):
        blender.context.scene.collection.objects.link(thing)
    for hidden in (False, True):
        dress.hide_set(hidden)
        blender.context.view_layer.update()
        assert [one.name for one in find_people(blender.context.view_layer)] == ["Dress", "Eve", "Flo"]
        request, arrays = export_request(blender.context)
        assert [one.name for one in request.characters] == ["Eve", "Flo"] and len(arrays) == 2
        assert request.characters[0].mask == expected.characters[0].mask
        assert "Off, since it moves with 'Eve', as the rig of clothes does" in drawn(panels.BEYONDSCENE_PT_characters)
    dress.beyondscene.drawn, dress.beyondscene.prompt = True, "a twin"
    assert [one.name for one in export_request(blender.context)[0].characters] == ["Dress", "Eve", "Flo"]


@pytest.mark.parametrize("how", ["excluded", "hidden", "disabled", "not rendered"])
def test_people_in_collections_that_are_not_shown_are_left_out_and_the_last_one_is_asked_for(
    blender: Any, example: Example, how: str
) -> None:
    example("duo")
    scene, view_layer = blender.context.scene, blender.context.view_layer

    def put_away(name: str) -> None:
        stored = store(blender, f"Stored {name}", blender.data.objects[name], blender.data.objects[f"{name}.body"])
        scene.collection.children.link(stored)
        layer = view_layer.layer_collection.children[stored.name]
        match how:
            case "excluded":
                layer.exclude = True
            case "hidden":
                layer.hide_viewport = True
            case "not rendered":
                stored.hide_render = True
            case _:
                stored.hide_viewport = True
        view_layer.update()

    put_away("Eve")
    found, masks, _ = export(blender)
    assert sorted(found) == sorted(masks) == ["Flo"]
    put_away("Flo")
    with pytest.raises(ExportError, match=r"'Eve' or its collection is hidden, .* show it in the Outliner"):
        export_request(blender.context)
