"""Masks and hidden joints of posed scenes: what an artist sees through the camera."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import ExportError, Person, export_request, find_left_out, find_people, leaders, raster, sight
from beyondscene.addon.exporters.sight import look
from beyondscene.addon.exporters.surfaces import gather_surfaces
from beyondscene.protocol import FREE, HIDDEN, KEYPOINT_NAMES, SEEN, Keypoint, RenderRequest

from .test_people import instance, store

Example = Callable[[str], dict[str, Any]]


def see(bpy: Any, **size: int) -> tuple[dict[str, np.ndarray], dict[str, dict[str, str]]]:
    """Where they are seen, bool (height, width), and states of the joints, by character."""
    masks, request = export_masks(bpy, **size)
    return {name: mask == SEEN for name, mask in masks.items()}, states(request)


def export_masks(bpy: Any, **size: int) -> tuple[dict[str, np.ndarray], RenderRequest]:
    """Masks as they are sent, by character, and their request."""
    request, arrays = export_request(bpy.context, width=size.get("width"), height=size.get("height"))
    return {one.name: arrays[one.mask.digest] for one in request.characters if one.mask}, request


def states(request: RenderRequest) -> dict[str, dict[str, str]]:
    return {one.name: dict(zip(KEYPOINT_NAMES, (k.state for k in one.keypoints), strict=True)) for one in request.characters}


def add_box(bpy: Any, name: str, size: tuple[float, float, float], location: tuple[float, float, float]) -> Any:
    """A box of `size` metres around `location`; it has no owner until it gets a parent."""
    x, y, z = (side / 2 for side in size)
    corners = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    box = bpy.data.objects.new(name, mesh)
    box.location = location
    bpy.context.scene.collection.objects.link(box)
    bpy.context.view_layer.update()
    return box


def in_front_of(bpy: Any, name: str) -> tuple[float, float, float]:
    """Between the chest of `name` and the camera."""
    rig, camera = bpy.data.objects[name], bpy.context.scene.camera
    chest = rig.matrix_world.translation.copy()
    chest.z += 1.1
    x, y, z = chest.lerp(camera.matrix_world.translation, 0.25)
    return x, y, z


def overlap(bpy: Any) -> None:
    """Flo comes to stand before Eve's arm."""
    flo = bpy.data.objects["Flo"]
    flo.location.x -= 1.0
    flo.location.y -= 0.7
    bpy.context.view_layer.update()


def test_masks_are_disjoint_and_hold_the_joints_that_are_seen(blender: Any, example: Example) -> None:
    example("duo")
    alone, _ = see(blender)
    overlap(blender)
    request, arrays = export_request(blender.context)
    masks, joints = see(blender)
    assert masks["Eve"].shape == (1024, 1024)
    assert {arrays[one.mask.digest].dtype for one in request.characters if one.mask} == {np.dtype(np.uint8)}
    assert not (masks["Eve"] & masks["Flo"]).any()
    assert masks["Eve"].sum() < alone["Eve"].sum()  # Flo is nearer
    assert not (masks["Eve"] & ~alone["Eve"]).any()
    assert joints["Eve"]["LElbow"] == "occluded" and joints["Eve"]["RElbow"] == "visible"
    for character in request.characters:
        for keypoint in character.keypoints:
            if keypoint.state == "visible":
                row, column = int(keypoint.y), int(keypoint.x)
                assert masks[character.name][row - 4 : row + 5, column - 4 : column + 5].any()


def test_a_prop_hides_a_joint_however_near_it_is_and_somebodys_own_skin_does_not() -> None:
    surface, joint = np.full((9, 9), 4.9), Keypoint(x=4.5, y=4.5, depth=5)

    def hider(owner: int, bodies: dict[int, np.ndarray]) -> str | None:
        seen = sight.Sight(1, surface, np.full((9, 9), owner), bodies, {}, {}, {})
        return sight.find_hider(joint, 0.3, 0, seen)

    assert [hider(owner, {0: surface}) for owner in (-1, 0, 1)] == ["prop", None, "character"]
    assert hider(-1, {}) is None  # it may well be the body of somebody without one
    surface[:, 4] = surface[4] = np.inf  # four of the nine pixels around the joint are left
    assert hider(-1, {0: surface}) is None
    surface[4, 3:6] = 4.9
    assert hider(-1, {0: surface}) == "prop"


def test_what_stands_beside_a_body_hides_it_where_it_is_nearer_than_flesh_reaches() -> None:
    body = np.where(np.arange(32) < 8, 5.0, np.inf)[None].repeat(32, 0)
    depth = np.where(np.arange(32) < 8, 5.0, np.where(np.arange(32) < 20, 4.9, 4.8))[None].repeat(32, 0)
    seen = sight.Sight(1, depth, np.where(np.isfinite(body), 0, -1), {0: body}, {}, {}, {})
    mask = sight.draw_mask(0, 0.5, seen)  # flesh of 15 cm
    assert (mask[:, :8] == SEEN).all() and (mask[:, 8:20] == FREE).all() and (mask[:, 20:] == HIDDEN).all()


def test_a_box_in_front_hides_the_person_and_one_behind_does_not(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    box = add_box(blender, "Crate", (0.5, 0.1, 0.5), in_front_of(blender, "Eve"))
    masks, joints = see(blender)
    assert 0 < masks["Eve"].sum() < 0.9 * before["Eve"].sum()
    assert (masks["Flo"] == before["Flo"]).all()
    assert joints["Eve"]["Neck"] == "occluded" or joints["Eve"]["RHip"] == "occluded"
    assert joints["Eve"]["RAnkle"] == "visible"
    box.scale = (20, 1, 20)
    blender.context.view_layer.update()
    masks, joints = see(blender)
    assert set(masks) == {"Eve", "Flo"}
    assert not masks["Eve"].any()  # wholly hidden, which is not the same as having no mesh
    assert set(joints["Eve"].values()) == {"occluded"}
    eve = next(one for one in export_masks(blender)[1].characters if one.name == "Eve")
    assert {point.state for point in eve.feet or ()} == {"occluded"}
    box.location.y += 20
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


@pytest.mark.parametrize(
    "how", ["hide_render", "hide_viewport", "hide_set", "WIRE", "BOUNDS", "collection", "camera", "indirect", "bone", "picture"]
)
def test_what_is_not_rendered_hides_nobody(blender: Any, example: Example, how: str) -> None:
    example("duo")
    before, _ = see(blender)
    box = add_box(blender, "Crate", (0.5, 0.1, 0.5), in_front_of(blender, "Eve"))
    match how:
        case "hide_set":
            box.hide_set(True)
        case "WIRE" | "BOUNDS":
            box.display_type = how
        case "collection" | "indirect":
            stored = blender.data.collections.new("Stored")
            blender.context.scene.collection.children.link(stored)
            stored.objects.link(box)
            blender.context.scene.collection.objects.unlink(box)
            stored.hide_render = how == "collection"
            blender.context.view_layer.layer_collection.children["Stored"].indirect_only = how == "indirect"
        case "camera":
            box.visible_camera = False
        case "picture":
            box["beyondscene_picture_plane"] = True  # as put there by the add-on itself
        case "bone":
            blender.data.objects["Flo"].pose.bones[0].custom_shape = box
        case _:
            setattr(box, how, True)
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_what_is_nearer_or_farther_than_the_camera_sees_counts_for_nothing(blender: Any, example: Example, kind: str) -> None:
    example("duo")
    camera = blender.context.scene.camera
    camera.data.type, camera.data.ortho_scale = kind, 4
    blender.context.view_layer.update()
    before, _ = see(blender)
    box = add_box(blender, "Crate", (0.5, 0.1, 0.5), in_front_of(blender, "Eve"))
    to_box = (box.matrix_world.translation - camera.matrix_world.translation).length
    assert see(blender)[0]["Eve"].sum() < before["Eve"].sum()
    camera.data.clip_start = to_box + 0.2
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()

    depths = {one.name: [joint.depth for joint in one.keypoints] for one in export_request(blender.context)[0].characters}
    flo, eve = depths["Flo"], depths["Eve"]
    assert min(flo) < min(eve)
    camera.data.clip_end = np.mean([min(eve), max(eve)])
    blender.context.view_layer.update()
    cut = see(blender)[0]["Eve"]
    assert cut.any() and cut.sum() < 0.9 * before["Eve"].sum() and not (cut & ~before["Eve"]).any()
    camera.data.clip_end = min(eve) - 0.001
    blender.context.view_layer.update()
    assert set(see(blender)[0]) == {"Flo"}
    ((person, why),) = find_left_out(blender.context)
    assert person.name == "Eve" and "stands wholly beyond the camera's Clip End" in why
    for start, end, why in ((0.1, 1.0, "beyond the camera's Clip End, 1 m"), (50, 100, "before the camera's Clip Start, 50 m")):
        camera.data.clip_start, camera.data.clip_end = start, end
        blender.context.view_layer.update()
        with pytest.raises(ExportError, match=f"Nobody would be in the picture: 'Eve' stands wholly {why} away"):
            export_request(blender.context)


def test_the_background_sets_of_a_scene_hide_people_as_they_do_in_a_render(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    box = add_box(blender, "Crate", (0.5, 0.1, 0.5), in_front_of(blender, "Eve"))
    hidden = see(blender)[0]["Eve"]
    assert hidden.sum() < before["Eve"].sum()
    scene, near, far = blender.context.scene, blender.data.scenes.new("Street"), blender.data.scenes.new("City")
    scene.collection.objects.unlink(box)
    far.collection.objects.link(box)
    near.background_set = far
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()
    scene.background_set = near
    blender.context.view_layer.update()
    masks, _ = see(blender)
    assert (masks["Eve"] == hidden).all() and sorted(masks) == ["Eve", "Flo"]
    box.hide_render = True
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


def test_a_rig_in_a_background_set_is_nobody_of_the_picture_and_hides_them(blender: Any, example: Example) -> None:
    example("duo")
    overlap(blender)
    before, _ = see(blender)
    scene, street = blender.context.scene, blender.data.scenes.new("Street")
    for thing in (blender.data.objects["Flo"], blender.data.objects["Flo.body"]):
        for collection in thing.users_collection:
            collection.objects.unlink(thing)
        street.collection.objects.link(thing)
    scene.background_set = street
    blender.context.view_layer.update()
    masks, _ = see(blender)
    assert sorted(masks) == ["Eve"] and (masks["Eve"] == before["Eve"]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_broken_corner_of_a_mesh_takes_away_its_faces_alone(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    box = add_box(blender, "Crate", (0.5, 0.5, 0.5), in_front_of(blender, "Eve"))
    whole, _ = see(blender)
    box.data.vertices[0].co = (np.nan, np.nan, np.nan)
    box.data.update()
    blender.context.view_layer.update()
    broken, _ = see(blender)
    assert whole["Eve"].sum() <= broken["Eve"].sum() < before["Eve"].sum()


def test_what_is_parented_to_a_person_is_part_of_them(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    eve = blender.data.objects["Eve"]
    hat = add_box(blender, "Hat", (0.3, 0.3, 0.3), (0, 0, 0))
    feather = add_box(blender, "Feather", (0.05, 0.05, 0.3), (0, 0, 0.3))
    hat.parent, hat.parent_type, hat.parent_bone = eve, "BONE", "head"
    feather.parent = hat
    cloak = add_box(blender, "Cloak", (0.1, 0.1, 0.1), (0.6, 0, 0.5))
    cloak.parent = blender.data.objects["Eve.body"]
    blender.context.view_layer.update()
    masks, joints = see(blender)
    assert masks["Eve"].sum() > before["Eve"].sum() + 3000
    assert not (before["Eve"] & ~masks["Eve"]).any()
    assert joints["Eve"]["Neck"] == "visible"
    eve.beyondscene.enabled = False  # switched off: nobody's
    assert set(see(blender)[0]) == {"Flo"}


def test_an_instanced_collection_hides_people_and_belongs_to_its_instancer(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    crates = blender.data.collections.new("Crates")
    box = add_box(blender, "Crate", (0.5, 0.1, 0.5), (0, 0, 0))
    crates.objects.link(box)
    blender.context.scene.collection.objects.unlink(box)
    stack = blender.data.objects.new("Stack", None)
    stack.instance_type, stack.instance_collection = "COLLECTION", crates
    stack.location = in_front_of(blender, "Eve")
    blender.context.scene.collection.objects.link(stack)
    blender.context.view_layer.update()
    masks, _ = see(blender)
    assert masks["Eve"].sum() < 0.9 * before["Eve"].sum()
    place = stack.matrix_world.copy()
    stack.parent = blender.data.objects["Flo"]
    stack.matrix_world = place
    blender.context.view_layer.update()
    held, _ = see(blender)
    assert (held["Eve"] == masks["Eve"]).all()
    assert held["Flo"].sum() > before["Flo"].sum() and not (held["Flo"] & held["Eve"]).any()


@pytest.mark.parametrize("how", ["nested collection", "nested instance", "camera", "whole collection"])
def test_what_a_render_leaves_out_of_an_instance_hides_nobody(blender: Any, example: Example, how: str) -> None:
    example("duo")
    before, _ = see(blender)
    scene, box = blender.context.scene, add_box(blender, "Crate", (0.5, 0.1, 0.5), (0, 0, 0))
    crates, stock = blender.data.collections.new("Crates"), blender.data.collections.new("Stock")
    crates.objects.link(box)
    scene.collection.objects.unlink(box)
    pile, shelf = blender.data.objects.new("Pile", None), blender.data.objects.new("Shelf", None)
    stack = pile.copy()
    for empty, collection, place in ((pile, crates, stock), (stack, crates, stock), (shelf, stock, scene.collection)):
        empty.instance_type, empty.instance_collection = "COLLECTION", collection
        place.objects.link(empty)
    stock.children.link(crates)
    shelf.location = in_front_of(blender, "Eve")
    blender.context.view_layer.update()
    assert see(blender)[0]["Eve"].sum() < 0.9 * before["Eve"].sum()
    match how:
        case "nested collection":
            crates.hide_render = True
        case "nested instance":
            stock.children.unlink(crates)
            pile.hide_render = True
            blender.context.view_layer.update()
            assert see(blender)[0]["Eve"].sum() < 0.9 * before["Eve"].sum()  # by the stack
            stack.hide_render = True
        case "camera":
            shelf.visible_camera = False
        case _:
            stock.hide_render = True
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


@pytest.mark.parametrize("how", ["emitter", "instancer", "of vertices", "of faces", "collection"])
def test_what_stands_in_for_its_instances_in_the_viewport_alone_hides_nobody(blender: Any, example: Example, how: str) -> None:
    example("duo")
    before, _ = see(blender)
    box = add_box(blender, "Crate", (0.5, 0.1, 0.5), in_front_of(blender, "Eve"))
    match how:
        case "emitter":
            box.modifiers.new("Sand", "PARTICLE_SYSTEM").particle_system.settings.render_type = "NONE"
            box.show_instancer_for_render = False
        case "instancer":
            box.instance_type, box.show_instancer_for_render = "VERTS", False
        case _:
            thing = instance(blender, "Stack", store(blender, "Stock", box)) if how == "collection" else box
            thing.parent = ground = add_box(blender, "Ground", (0.1, 0.1, 0.1), (0, 0, 0))
            ground.instance_type = "FACES" if how == "of faces" else "VERTS"
            for vertex in ground.data.vertices:
                vertex.co.y += 50  # where the instances are
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


@pytest.mark.parametrize("how", ["collection of the source", "instance", "scatterer in a collection", "particles"])
def test_what_a_render_does_not_scatter_hides_nobody(blender: Any, example: Example, how: str) -> None:
    example("duo")
    before, _ = see(blender)
    source = add_box(blender, "Crate", (0.5, 0.1, 0.5), (0, 0, 0))
    stock = store(blender, "Stock", source)
    match how:
        case "collection of the source":
            blender.context.scene.collection.children.link(stock)
            scatter(blender, source, np.array([in_front_of(blender, "Eve")]))
            switch: Any = stock
        case "instance":
            switch = instance(blender, "Stack", stock)
            scatter(blender, switch, np.array([in_front_of(blender, "Eve")]))
        case "scatterer in a collection":
            scatter(blender, source, np.array([in_front_of(blender, "Eve")]))
            instance(blender, "Shelf", store(blender, "Shelves", source, source.parent))
            switch = source.parent
        case _:
            settings = add_emitter(blender)
            settings.render_type, settings.instance_collection = "COLLECTION", stock
            switch = stock
    blender.context.view_layer.update()
    assert see(blender)[0]["Eve"].sum() < 0.9 * before["Eve"].sum()
    switch.hide_render = True
    blender.context.view_layer.update()
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


def add_emitter(bpy: Any) -> Any:
    """The settings of one particle of full size before Eve."""
    bush = add_box(bpy, "Bush", (0.001, 0.001, 0.001), in_front_of(bpy, "Eve"))
    settings = bush.modifiers.new("Leaves", "PARTICLE_SYSTEM").particle_system.settings
    settings.type, settings.count, settings.particle_size, settings.use_advanced_hair = "HAIR", 1, 1, True
    return settings


@pytest.mark.parametrize("how", ["object", "one of several", "all together"])
def test_particles_show_what_is_not_rendered_itself_or_another_in_its_place(blender: Any, example: Example, how: str) -> None:
    example("duo")
    before, _ = see(blender)
    source, settings = add_box(blender, "Leaf", (0.5, 0.1, 0.5), (0, 50, 0)), add_emitter(blender)
    settings.render_type, settings.instance_object, source.hide_render = "OBJECT", source, True
    if how != "object":
        twig = add_box(blender, "Twig", (0.001, 0.001, 0.001), (0, 50, 0))
        settings.render_type, settings.instance_collection = "COLLECTION", store(blender, "Stock", source, twig)
        settings.use_whole_collection = how == "all together"
    blender.context.view_layer.update()
    hides = see(blender)[0]["Eve"].sum() < 0.9 * before["Eve"].sum()
    assert hides == (how != "all together")


def test_a_copy_of_a_body_elsewhere_is_not_its_person(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    bodies = blender.data.collections.new("Bodies")
    bodies.objects.link(blender.data.objects["Eve.body"])
    twin = blender.data.objects.new("Twin", None)
    twin.instance_type, twin.instance_collection, twin.location.x = "COLLECTION", bodies, 0.5
    blender.context.scene.collection.objects.link(twin)
    blender.context.view_layer.update()
    assert not (see(blender)[0]["Eve"] & ~before["Eve"]).any()


@pytest.mark.parametrize("without", ["mesh", "faces"])
def test_somebody_without_a_mesh_has_no_mask_and_is_hidden_by_what_stands_before(
    blender: Any, example: Example, without: str
) -> None:
    example("duo")
    if without == "mesh":
        blender.data.objects.remove(blender.data.objects["Eve.body"])
    else:  # nothing of it is in the picture, and yet nobody hides her
        blender.data.objects["Eve.body"].data.clear_geometry()
        add_box(blender, "Sword", (0.1, 0.1, 1), (0, 0, 90)).parent = blender.data.objects["Eve"]
    masks, joints = see(blender)
    assert set(masks) == {"Flo"}
    assert set(joints["Eve"].values()) == {"visible"}
    add_box(blender, "Wall", (5, 0.1, 5), in_front_of(blender, "Eve"))
    assert set(see(blender)[1]["Eve"].values()) == {"occluded"}


@pytest.mark.parametrize("has_mesh", [True, False])
def test_the_face_of_who_turns_away_is_on_the_far_side_of_the_head(blender: Any, example: Example, has_mesh: bool) -> None:
    example("duo")
    if not has_mesh:
        blender.data.objects.remove(blender.data.objects["Eve.body"])

    def hidden_by_own_head() -> set[str]:
        keypoints = export_request(blender.context)[0].characters[0].keypoints
        return {name for name, joint in zip(KEYPOINT_NAMES, keypoints, strict=True) if joint.hidden_by == "own_head"}

    assert not hidden_by_own_head() & {"Nose", "REye", "LEye"}
    blender.data.objects["Eve"].rotation_euler.z += np.pi
    blender.context.view_layer.update()
    assert hidden_by_own_head() >= {"Nose", "REye", "LEye"}


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_surfaces_lie_where_blender_finds_them(blender: Any, example: Example, kind: str) -> None:
    example("plaza")
    scene, view_layer = blender.context.scene, blender.context.view_layer
    camera = scene.camera
    camera.data.type, camera.data.ortho_scale = kind, 7
    scene.unit_settings.scale_length = 0.5
    blender.context.view_layer.update()
    depsgraph = blender.context.evaluated_depsgraph_get()
    rigs = [blender.data.objects[name] for name in ("Ana", "Bo", "Cy", "Di")]
    sight = look(scene, view_layer, depsgraph, [Person(rig) for rig in rigs], 384, 256)
    corners = [camera.matrix_world.normalized() @ corner for corner in camera.data.view_frame(scene=scene)]
    right, below, left = np.array(corners[0]), np.array(corners[2]), np.array(corners[3])
    eye, forward = np.array(camera.matrix_world.translation), -np.array(camera.matrix_world.normalized().col[2][:3])
    wrong = 0
    for row, column in np.random.default_rng(0).integers((0, 0), (256, 384), (400, 2)):
        through = left + (right - left) * (column + 0.5) / 384 + (below - left) * (row + 0.5) / 256
        direction = through - eye if kind == "PERSP" else forward
        # an orthographic camera's frame lies ahead of it: from there back to where it begins to see
        start = eye if kind == "PERSP" else through - forward * ((through - eye) @ forward - camera.data.clip_start)
        hit, place, _, _, thing, _ = scene.ray_cast(depsgraph, start, direction)
        name = thing.name.removesuffix(".body") if hit and thing.name.endswith(".body") else None
        owner = rigs[sight.owner[row, column]].name if sight.owner[row, column] >= 0 else None
        depth = (np.array(place) - eye) @ forward * 0.5 if hit else np.inf
        wrong += owner != name or not np.isclose(sight.depth[row, column], depth, rtol=1e-3)
    assert wrong <= 2  # rays that graze an outline


def scatter(bpy: Any, thing: Any, places: np.ndarray) -> None:
    """Instances of `thing` at `places`, (N, 3), and none of itself."""
    mesh = bpy.data.meshes.new("Ground")
    mesh.from_pydata(places.tolist(), [], [])
    ground = bpy.data.objects.new("Ground", mesh)
    bpy.context.scene.collection.objects.link(ground)
    thing.parent, ground.instance_type = ground, "VERTS"
    bpy.context.view_layer.update()


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_a_meadow_is_drawn_at_once_without_what_is_beside_the_picture_and_looks_as_if_each_tuft_was_drawn_alone(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    example("duo")
    scene = blender.context.scene
    scene.camera.data.type, scene.camera.data.ortho_scale = kind, 4
    scene.unit_settings.scale_length = 0.5
    places = np.random.default_rng(0).uniform((-8, -8, 0), (8, 8, 2), (300, 3))
    scatter(blender, add_box(blender, "Tuft", (0.04, 0.04, 0.4), (0, 0, 0)), places)
    people = [Person(blender.data.objects[name]) for name in ("Eve", "Flo")]
    place = scene, blender.context.view_layer, blender.context.evaluated_depsgraph_get(), people, 256, 256
    draws: list[int] = []
    clip = raster.clip_near
    monkeypatch.setattr(raster, "clip_near", lambda triangles, near: draws.append(len(triangles)) or clip(triangles, near))
    together, few = look(*place), len(draws)
    draw = raster.ZBuffer.draw
    monkeypatch.setattr(raster.ZBuffer, "draw", lambda buffer, triangles: draw(buffer, triangles) or buffer.depth)
    everything = partial(gather_surfaces, planes=None)
    monkeypatch.setattr(sight, "gather_surfaces", lambda *scene, planes: everything(*scene))
    alone = look(*place)
    assert few == 3 and len(draws) - few > 300
    assert sum(draws[:few]) < sum(draws[few:]) - 12 * 50  # whose boxes are beside the picture or behind the camera
    assert together.bodies.keys() == alone.bodies.keys() == {0, 1}
    np.testing.assert_array_equal(together.depth, alone.depth)
    np.testing.assert_array_equal(together.owner, alone.owner)
    for owner, body in alone.bodies.items():
        np.testing.assert_array_equal(together.bodies[owner], body)
    assert (alone.owner[np.isfinite(alone.depth)] == -1).mean() > 0.1


def test_large_pictures_have_coarser_masks(blender: Any, example: Example) -> None:
    example("duo")
    fine, _ = see(blender)
    coarse, joints = see(blender, width=8192, height=8192)
    assert coarse["Eve"].shape == (1024, 1024)
    assert (coarse["Eve"] == fine["Eve"]).all()
    assert joints == see(blender)[1]
    masks, _ = export_masks(blender, width=8192, height=8192)
    assert {*np.unique(np.stack([*masks.values()]))} == {SEEN, FREE, HIDDEN}  # looked up, not averaged


def widen(mask: np.ndarray, by_px: int) -> np.ndarray:
    """bool (H, W): `mask` and the pixels up to `by_px` beside it, to left and right."""
    return np.any([np.roll(mask, step, 1) for step in range(-by_px, by_px + 1)], axis=0)


def shins(mask: np.ndarray, request: RenderRequest) -> np.ndarray:
    """bool (H, W): `mask` from Eve's knees on downwards."""
    knees = [int(request.characters[0].keypoints[KEYPOINT_NAMES.index(name)].y) for name in ("RKnee", "LKnee")]
    return mask & (np.arange(len(mask)) > max(knees))[:, None]


def test_a_table_hides_the_legs_behind_it_with_their_clothes_but_not_the_hair(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    body, flo = before["Eve"], before["Flo"]
    eve = blender.data.objects["Eve"].matrix_world.translation
    add_box(blender, "Table", (1.2, 0.5, 0.75), (eve.x, eve.y - 0.6, 0.375))
    masks, request = export_masks(blender)
    mask = masks["Eve"]
    assert shins(body, request).any()
    assert (mask[shins(widen(body, 30), request)] == HIDDEN).all()
    neck = int(request.characters[0].keypoints[KEYPOINT_NAMES.index("Neck")].y)
    head = body & (np.arange(len(body)) < neck)[:, None]
    assert (mask[head] == SEEN).all()
    assert (mask[widen(head, 30) & ~head & ~flo] == FREE).all()
    crown, column = np.nonzero(head)[0][0], np.nonzero(head)[1][0]
    assert (mask[crown - 40 : crown, column - 20 : column + 20] == FREE).all()


def test_a_hand_held_out_over_a_table_does_not_bring_the_legs_before_it(blender: Any, example: Example) -> None:
    example("duo")
    rig, eye = blender.data.objects["Eve"], blender.context.scene.camera.matrix_world.translation
    shoulder = rig.pose.bones["upperarm_l"]
    arm = (rig.matrix_world.inverted() @ eye - shoulder.head).normalized()
    turned = (shoulder.tail - shoulder.head).rotation_difference(arm).to_matrix() @ shoulder.matrix.to_3x3()
    shoulder.matrix = type(shoulder.matrix).LocRotScale(shoulder.head, turned, None)
    blender.context.view_layer.update()
    before, _ = see(blender)
    eve = rig.matrix_world.translation
    add_box(blender, "Table", (1.2, 0.15, 0.75), (eve.x, eve.y - 0.4, 0.375))
    masks, request = export_masks(blender)
    nearest = min(joint.depth for joint in request.characters[0].keypoints)
    ankle = request.characters[0].keypoints[KEYPOINT_NAMES.index("LAnkle")]
    assert nearest < ankle.depth - 0.5
    assert (masks["Eve"][shins(widen(before["Eve"], 20), request)] == HIDDEN).all()


def test_of_two_who_overlap_each_has_room_around_the_body_but_not_before_the_nearer_one(blender: Any, example: Example) -> None:
    example("duo")
    overlap(blender)
    blender.data.objects["Flo"].location.y -= 0.5  # all of her before Eve
    blender.context.view_layer.update()
    masks, _ = export_masks(blender)
    eve, flo = masks["Eve"], masks["Flo"]
    assert (eve[flo == SEEN] == HIDDEN).all()
    beside = widen(flo == SEEN, 20) & (eve == SEEN)
    assert beside.any() and (flo[beside] == FREE).all()  # Flo's hair may fall over Eve


Constrain = Callable[[Any, Any, float], None]


def child_of(thing: Any, rig: Any, influence: float) -> None:
    hold = thing.constraints.new("CHILD_OF")
    hold.target, hold.subtarget, hold.influence = rig, "hand_r", influence


def copy_location(thing: Any, rig: Any, influence: float) -> None:
    hold = thing.constraints.new("COPY_LOCATION")
    hold.target, hold.subtarget, hold.influence = rig, "hand_r", influence


def by_armature(thing: Any, rig: Any, influence: float) -> None:
    hold = next((one for one in thing.constraints if one.type == "ARMATURE"), None) or thing.constraints.new("ARMATURE")
    bone = hold.targets.new()
    bone.target, bone.subtarget, bone.weight = rig, "hand_r", influence


@pytest.mark.parametrize("constrain", [child_of, copy_location, by_armature])
def test_a_thing_that_goes_from_hand_to_hand_is_part_of_who_holds_it(
    blender: Any, example: Example, constrain: Constrain
) -> None:
    example("duo")
    before, _ = see(blender)
    rigs = {name: blender.data.objects[name] for name in ("Eve", "Flo")}
    for holder in rigs:
        staff = add_box(blender, "Staff", (0.3, 0.3, 0.6), (0, 0, 0))
        for name, rig in rigs.items():
            constrain(staff, rig, 1.0 if name == holder else 0.0)
        blender.context.view_layer.update()
        masks, _ = see(blender)
        grown = [name for name in rigs if (masks[name] & ~before[name] & ~before["Flo"] & ~before["Eve"]).sum() > 1000]
        assert grown == [holder]
        blender.data.objects.remove(staff)


def test_a_chain_whose_links_hang_on_each_other_twice_is_walked_once(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    rig = blender.data.objects["Eve"]
    rig.hide_set(True)
    above = rig
    for number in range(14):
        link = add_box(blender, f"Link {number}", (0.02, 0.02, 0.02), (0, 0, 0))
        link.parent = above
        link.constraints.new("CHILD_OF").target = above
        above = link
    blender.data.objects["Eve.body"].hide_set(True)
    blender.context.view_layer.update()
    walked: list[Any] = []
    find_leaders = leaders.find_leaders
    monkeypatch.setattr(leaders, "find_leaders", lambda thing: walked.append(thing) or find_leaders(thing))
    assert [person.name for person in find_people(blender.context.view_layer)] == ["Eve", "Flo"]  # by the links alone
    assert len(walked) < 200


def test_a_rig_that_blender_never_evaluated_is_in_nobodys_way(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    stored = blender.data.collections.new("Stored")
    blender.context.scene.collection.children.link(stored)
    stored.hide_viewport = True
    rig = blender.data.objects.new("Spare", blender.data.armatures.new("Spare"))
    stored.objects.link(rig)
    blender.context.view_layer.update()
    assert rig.pose is None and rig in set(blender.context.view_layer.objects)
    assert (see(blender)[0]["Eve"] == before["Eve"]).all()


def test_what_follows_a_person_without_being_parented_is_part_of_them(blender: Any, example: Example) -> None:
    example("duo")
    before, _ = see(blender)
    eve = blender.data.objects["Eve"]
    held = add_box(blender, "Staff", (0.1, 0.1, 0.6), (0, 0, 0))
    holder = held.constraints.new("COPY_TRANSFORMS")
    holder.target, holder.subtarget = eve, "hand_r"
    skirt = add_box(blender, "Skirt", (0.6, 0.3, 0.4), tuple(eve.matrix_world.translation + type(eve.location)((0, -0.1, 0.7))))
    skirt.modifiers.new("Worn", "SURFACE_DEFORM").target = blender.data.objects["Eve.body"]
    blender.context.view_layer.update()
    masks, _ = see(blender)
    assert masks["Eve"].sum() > before["Eve"].sum() + 3000 and not (before["Eve"] & ~masks["Eve"]).any()
    for thing in (held, skirt):
        thing.hide_set(True)
        blender.context.view_layer.update()
        assert see(blender)[0]["Eve"].sum() < masks["Eve"].sum()
        thing.hide_set(False)
