"""Finished pictures: put somewhere with one click, where the camera saw them."""

import wave
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import editors
from beyondscene.addon.destinations import DESTINATIONS

from .conftest import chosen


@pytest.mark.parametrize("destination", sorted(DESTINATIONS.keys() - {"IMAGE_EDITOR"}))
def test_one_click_puts_the_picture_there_in_its_colours(made: Any, destination: str) -> None:
    scene = made.context.scene
    before = {kind: set(getattr(made.data, kind).keys()) for kind in ("worlds", "objects", "materials")}
    world = scene.world
    assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
    image = chosen()
    assert image.colorspace_settings.name == "sRGB"
    match destination:
        case "CAMERA_BACKGROUND":
            (background,) = scene.camera.data.background_images
            background.show_background_image, background.display_depth, background.use_flip_x = False, "FRONT", True
            assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
            (background,) = scene.camera.data.background_images  # a second click adds no second one
            assert background.image == image and scene.camera.data.show_background_images
            assert background.show_background_image and background.display_depth == "BACK" and not background.use_flip_x
            check_drawn_where_it_was_seen(made, background)
        case "IMAGE_PLANE":
            (plane,) = (scene.objects[name] for name in set(scene.objects.keys()) - before["objects"])
            check_fills_the_frame(made, plane, image)
            assert plane["beyondscene_picture_plane"] and not plane.visible_shadow and not plane.visible_glossy
            materials = len(made.data.materials)
            assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
            assert plane.data.users == 1 and len(scene.objects) == len(before["objects"]) + 1  # none in front of the other
            assert len(made.data.materials) == materials
            check_fills_the_frame(made, plane, image)
        case "WORLD":
            assert any(getattr(node, "image", None) == image for node in scene.world.node_tree.nodes)
            check_maps_the_frame(made, scene.world)
            assert world is None or (world.name in made.data.worlds and world.use_fake_user)
        case "COMPOSITOR":
            tree = scene.compositing_node_group if hasattr(scene, "compositing_node_group") else scene.node_tree
            links = len(tree.links)
            assert [node.image for node in tree.nodes if node.bl_idname == "CompositorNodeImage"] == [image]
            assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
            assert len([node for node in tree.nodes if node.bl_idname == "CompositorNodeImage"]) == 1
            assert links == len(tree.links) >= 1  # the render goes to the end as before
            assert not any(link.from_node.bl_idname == "CompositorNodeImage" for link in tree.links)
        case "SEQUENCER":
            editor = scene.sequence_editor
            (strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences
            assert strip.type == "IMAGE" and strip.elements[0].filename == "duo 0001.png"
            start = scene.frame_current
            assert (strip.frame_final_start, strip.frame_final_end) == (start, start + 25)
            assert not scene.render.use_sequencer  # a render is still of the scene
            scene.render.use_sequencer = True
            assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
            assert scene.render.use_sequencer  # as the artist has chosen, now that there are strips
        case _:
            pytest.fail("say here where it is then, and that a second click adds no second one")


def test_every_place_is_explained() -> None:
    table = (Path(__file__).parents[2] / "docs" / "addon.md").read_text()
    assert [one.LABEL for one in DESTINATIONS.values() if f"| {one.LABEL} |" not in table] == []


def test_a_compositor_that_was_switched_off_stays_off(made: Any) -> None:
    if made.app.version >= (5, 0, 0):
        pytest.skip("a scene has a compositor by having its nodes")
    scene = made.context.scene
    scene.use_nodes = True
    scene.use_nodes = False
    assert made.ops.beyondscene.place_picture(destination="COMPOSITOR") == {"FINISHED"}
    assert not scene.use_nodes and any(node.bl_idname == "CompositorNodeImage" for node in scene.node_tree.nodes)


def test_a_strip_is_shown_in_the_workspaces_that_show_no_other_sequence(made: Any) -> None:
    if made.app.version < (5, 0, 0):
        pytest.skip("a Sequencer shows the strips of its window's scene")
    film = made.data.scenes.new("Film")
    shown, *others = (one for one in made.data.workspaces if one != made.context.workspace)
    shown.sequencer_scene = film
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    assert shown.sequencer_scene == film and others
    assert {one.sequencer_scene for one in others} == {made.context.scene}


def test_a_strip_goes_into_the_scene_that_the_sequencer_shows(made: Any, capfd: pytest.CaptureFixture[str]) -> None:
    if made.app.version < (5, 0, 0):
        pytest.skip("a Sequencer shows the strips of its window's scene")
    film = made.data.scenes.new("Film")
    made.context.workspace.sequencer_scene = film
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    editor = made.context.scene.sequence_editor
    assert len(film.sequence_editor.strips) == 1 and not (editor and len(editor.strips))
    assert "is in channel 1 of the scene 'Film'" in capfd.readouterr().out


def test_a_sequence_that_is_too_long_for_a_strip_says_so_and_adds_none(blender: Any, picture: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "duo animation 0001"
    folder.mkdir()
    for frame in (1, 5001):
        (folder / f"{frame:04d}.png").write_bytes(picture)
    editors.load_picture(folder / "0001.png")
    with pytest.raises(RuntimeError, match="reaches over 5001 frames"):
        blender.ops.beyondscene.place_picture(destination="SEQUENCER")
    editor = blender.context.scene.sequence_editor
    assert not editor or not (editor.strips if hasattr(editor, "strips") else editor.sequences)


def test_a_strip_beside_sound_and_what_is_muted_is_not_what_a_render_shows(made: Any, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    scene = made.context.scene
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    with suppress(RuntimeError):  # the wheel of Blender 4.2 has no sound
        strips.new_sound("Speech", str(tmp_path / "speech.wav"), 1, 1)
    before = len(strips)
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    assert not scene.render.use_sequencer  # a render is still of the scene
    editor.channels[before + 1].mute = scene.render.use_sequencer = True
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    assert len(strips) == before + 2 and not scene.render.use_sequencer


def test_a_strip_for_which_no_channel_is_left_is_refused_and_not_moved_in_time(made: Any) -> None:
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    editor = made.context.scene.sequence_editor
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strips[0].channel = 128
    with pytest.raises(RuntimeError, match="No channel above the strips of the scene 'duo' is left: move those in 128 down"):
        made.ops.beyondscene.place_picture(destination="SEQUENCER")
    assert len(strips) == 1


def test_a_plane_fills_the_frame_of_a_camera_whose_parent_is_scaled_unevenly(made: Any) -> None:
    scene, dolly = made.context.scene, made.data.objects.new("Dolly", None)
    scene.collection.objects.link(dolly)
    scene.camera.parent, dolly.scale = dolly, (1, 1.5, 0.8)
    made.context.view_layer.update()
    assert made.ops.beyondscene.place_picture(destination="IMAGE_PLANE") == {"FINISHED"}
    (plane,) = scene.camera.children
    check_fills_the_frame(made, plane, chosen())


def test_nothing_is_put_on_a_plane_in_edit_mode_which_would_keep_what_it_has(made: Any) -> None:
    assert made.ops.beyondscene.place_picture(destination="IMAGE_PLANE") == {"FINISHED"}
    made.context.view_layer.objects.active = made.context.scene.camera.children[0]
    made.ops.object.mode_set(mode="EDIT")
    meshes = len(made.data.meshes)
    with pytest.raises(RuntimeError, match="The plane 'BeyondScene duo 0001' is in Edit Mode: leave that mode first"):
        made.ops.beyondscene.place_picture(destination="IMAGE_PLANE")
    assert len(made.data.meshes) == meshes
    made.ops.object.mode_set(mode="OBJECT")


def test_nothing_is_put_on_a_linked_plane_or_camera_which_would_not_keep_it(made: Any, tmp_path: Path) -> None:
    assert made.ops.beyondscene.place_picture(destination="IMAGE_PLANE") == {"FINISHED"}
    (plane,) = made.context.scene.camera.children
    made.data.libraries.write(str(tmp_path / "set.blend"), {plane, made.context.scene.camera})
    made.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with made.data.libraries.load(str(tmp_path / "set.blend"), link=True) as (there, here):
        here.objects = there.objects
    scene = made.context.scene
    for thing in here.objects:
        scene.collection.objects.link(thing)
    scene.camera = made.data.objects["Camera"]
    editors.load_picture(tmp_path / "duo 0001.png")
    with pytest.raises(RuntimeError, match=r"The plane 'BeyondScene duo 0001' is linked .* make a library override of it"):
        made.ops.beyondscene.place_picture(destination="IMAGE_PLANE")
    scene.camera = scene.camera.override_create(remap_local_usages=True)
    with pytest.raises(RuntimeError, match=r"The data of the camera 'Camera' is linked .* also where the camera is overridden"):
        made.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND")
    scene.camera.data.override_create(remap_local_usages=True)
    assert made.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND") == {"FINISHED"}


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_a_picture_of_other_proportions_than_the_render_lies_where_it_was_seen(made: Any, kind: str) -> None:
    scene, camera = made.context.scene, made.context.scene.camera.data
    camera.type, camera.shift_x, camera.shift_y = kind, 0.2, -0.1
    for size in ((300, 200), (200, 400), (320, 200)):
        scene.render.resolution_x, scene.render.resolution_y = size
        for destination in ("CAMERA_BACKGROUND", "WORLD"):
            assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
        check_drawn_where_it_was_seen(made, camera.background_images[0])
        check_maps_the_frame(made, scene.world)
    scene.render.pixel_aspect_x = 2
    with pytest.raises(RuntimeError, match="pixels are not square"):
        made.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND")
    scene.render.resolution_x, scene.render.resolution_y = 300, 200
    assert made.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND") == {"FINISHED"}
    assert camera.background_images[0].frame_method == "STRETCH" and camera.background_images[0].scale == 1


def check_drawn_where_it_was_seen(blender: Any, background: Any) -> None:
    """By the rule of Blender's viewport (overlay_camera.hh), the image of 96x64 px fills the frame that such a picture has."""
    scene, depsgraph = blender.context.scene, blender.context.evaluated_depsgraph_get()
    right_top, _, left_bottom, _ = scene.camera.data.view_frame(scene=scene)
    width, height = right_top.x - left_bottom.x, right_top.y - left_bottom.y
    fitted = (width, width / 1.5) if width / height < 1.5 else (height * 1.5, height)
    half = np.array(fitted) * background.scale / 2
    middle = np.array((right_top + left_bottom) / 2)
    assert background.frame_method == "FIT" and tuple(background.offset) == (0, 0)
    seen = np.array(scene.camera.calc_matrix_camera(depsgraph, x=96, y=64)) @ [*(middle[:2] + half), middle[2], 1]
    assert seen[:2] / seen[3] == pytest.approx((1, 1), abs=1e-5)


def check_maps_the_frame(blender: Any, world: Any) -> None:
    """What the camera sees in the corner of a render is sought where a picture of 96x64 px has it."""
    scene, depsgraph = blender.context.scene, blender.context.evaluated_depsgraph_get()
    (mapping,) = (node for node in world.node_tree.nodes if node.bl_idname == "ShaderNodeMapping")
    size = {"x": scene.render.resolution_x, "y": scene.render.resolution_y}
    corner = np.linalg.inv(scene.camera.calc_matrix_camera(depsgraph, **size)) @ [1, 1, 0, 1]
    seen = np.array(scene.camera.calc_matrix_camera(depsgraph, x=96, y=64)) @ corner
    scale, location = (np.array(mapping.inputs[name].default_value)[:2] for name in ("Scale", "Location"))
    assert scale + location == pytest.approx((seen[:2] / seen[3] + 1) / 2, abs=1e-4)


def check_fills_the_frame(blender: Any, plane: Any, image: Any) -> None:
    """The plane's corners are those of the picture, behind everybody, and it shows the picture."""
    scene = blender.context.scene
    blender.context.view_layer.update()
    depsgraph = blender.context.evaluated_depsgraph_get()
    project = np.array(scene.camera.calc_matrix_camera(depsgraph, x=96, y=64))
    corners = []
    for vertex in plane.data.vertices:
        seen = scene.camera.matrix_world.normalized().inverted() @ plane.matrix_world @ vertex.co
        assert -seen.z > 1.0
        clip = project @ [*seen, 1.0]
        corners.append(tuple((clip[:2] / clip[3]).round(3)))
    assert corners == [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    nodes = plane.material_slots[0].material.node_tree.nodes
    assert any(getattr(node, "image", None) == image for node in nodes)
