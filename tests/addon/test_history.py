"""Finished pictures: found again, put somewhere with one click, and the way back to their settings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import (
    animation,
    editors,
    history,
    images,
    panels,
    pending_pictures,
    preferences,
    preview,
    quality,
    session,
    thumbnails,
)
from beyondscene.addon.destinations import DESTINATIONS
from beyondscene.addon.frozen_settings import FrozenSettings
from beyondscene.backend.outputs import Picture, make_record, write_picture
from beyondscene.protocol import ArrayRef, RenderSettings, Submit, request_from_json
from beyondscene.protocol.client import new_job_id
from beyondscene.protocol.record import RecordError, read_record
from msgspec.structs import replace

from .conftest import until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]
SETTINGS = RenderSettings(steps=9, t_b=0.3, guidance_scale=2.5, scheduler="euler")


@pytest.fixture
def made(blender: Any, example: Example, tmp_path: Path) -> Any:
    """The scene duo with a picture of it as the backend writes one: 96x64, from seed 11."""
    from beyondscene.addon.exporters import export_request

    example("duo")
    request, arrays = export_request(blender.context, width=96, height=64, seed=11)
    request = replace(
        request, prompt="a quay", style="ink", settings=RenderSettings(steps=9, t_b=0.3, guidance_scale=2.5, scheduler="euler")
    )
    path = tmp_path / "duo 0001.png"
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:] = (255, 128, 0)
    write_picture(path, Picture(image), make_record(request, arrays, "tiny", {}, "a test"))
    editors.load_picture(path)
    return blender


def chosen() -> Any:
    image = history.chosen()
    assert image
    return image


def test_settings_come_back_from_the_file_of_a_picture(made: Any) -> None:
    own, rigs = made.context.scene.beyondscene, made.data.objects
    own.prompt, own.style, own.seed, own.lock_seed = "something else", "", 3, False
    flo_prompt = rigs["Flo"].beyondscene.prompt
    rigs["Flo"].beyondscene.prompt, rigs["Flo"].beyondscene.enabled = "", False
    rigs["Eve"].beyondscene.prompt = "somebody else"
    rigs["Eve"].name = "Evelyn"
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    assert (own.prompt, own.style, own.seed, own.lock_seed, own.models) == ("a quay", "ink", 11, True, "tiny")
    assert (own.use_own_size, own.width, own.height) == (True, 96, 64)
    assert quality.chosen_settings(own) == SETTINGS
    assert (rigs["Flo"].beyondscene.prompt, rigs["Flo"].beyondscene.enabled) == (flo_prompt, True)
    assert not rigs["Evelyn"].beyondscene.enabled  # who is not in the picture


def test_who_is_switched_off_with_the_settings_of_a_picture_is_told(
    made: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rigs = made.data.objects
    rigs["Eve"].name = "Evelyn"
    rigs["Evelyn"].beyondscene.prompt = "somebody else"
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    told = capfd.readouterr().out
    assert "Switched off, since the picture is without them: Evelyn\n" in told and "Not in this scene, or hidden: Eve\n" in told
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    assert "Switched off" not in capfd.readouterr().out  # a second time


def test_who_was_renamed_since_is_known_by_the_prompt_that_nobody_else_has(
    made: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    eve, flo = (made.data.objects[name] for name in ("Eve", "Flo"))
    eve.name, eve.beyondscene.negative_prompt = "Evelyn", "hat"
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    assert eve.beyondscene.drawn and not eve.beyondscene.negative_prompt and "Not in this scene" not in capfd.readouterr().out
    flo.name, flo.beyondscene.prompt = "Florence", eve.beyondscene.prompt
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    assert not eve.beyondscene.drawn and not flo.beyondscene.drawn  # which of them is Eve?


def test_who_is_not_in_the_first_frame_of_an_animation_may_come_in_later(
    made: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rigs, folder = made.data.objects, tmp_path / "duo animation 0001"
    folder.mkdir()
    (folder / "0001.png").write_bytes((tmp_path / "duo 0001.png").read_bytes())
    session.current().picture = images.PictureRef.of(editors.load_picture(folder / "0001.png"))
    rigs["Eve"].beyondscene.prompt = "somebody else"
    rigs["Eve"].name, rigs["Flo"].beyondscene.enabled = "Evelyn", False
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"}
    session.current().picture = images.PictureRef()
    assert made.context.scene.beyondscene.prompt == "a quay" and rigs["Flo"].beyondscene.drawn
    assert rigs["Evelyn"].beyondscene.drawn and "Switched off" not in capfd.readouterr().out


def test_a_picture_is_rendered_again_as_it_was_whatever_the_scene_is_now(
    made: Any, start_peer: Any, use_backend: Any, tmp_path: Path, picture: bytes
) -> None:
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    made.context.scene.beyondscene.output_folder = str(tmp_path)
    made.data.objects["Eve"].location.x += 5
    of_one_that_crashed = pending_pictures.Promise(picture=str(tmp_path / "duo 0002.png"))
    pending_pictures.remember(new_job_id(), of_one_that_crashed)
    assert made.ops.beyondscene.render_again() == {"FINISHED"}
    until(lambda: not session.current().jobs)
    (again,) = [one for one in peer.heard if isinstance(one, Submit)]
    assert {"duo 0002.png", "duo 0003.png"} <= {path.name for path in tmp_path.iterdir()}
    assert (again.request.seed, again.request.width, again.models) == (11, 96, "tiny")
    assert len(again.arrays) == 2 and again.request.settings.steps == 9
    assert "BeyondScene duo 0003" in made.data.images


def test_no_backend_to_render_again_with_is_said_at_the_click(made: Any, use_backend: Any, tmp_path: Path) -> None:
    made.context.scene.beyondscene.output_folder = str(tmp_path)
    use_backend(None)
    with pytest.raises(RuntimeError, match="No backend can be found through the key file"):
        made.ops.beyondscene.render_again()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_noticed_before_anything_is_rendered(made: Any) -> None:
    own = made.context.scene.beyondscene
    own.output_folder = "/proc"
    for render in (made.ops.beyondscene.render, made.ops.beyondscene.render_again, made.ops.beyondscene.render_animation):
        with pytest.raises(RuntimeError, match=r"The folder '/proc' cannot be written to \(.*\): choose another"):
            render()
    assert not session.current().jobs and not session.current().link.alive


def test_a_picture_without_a_record_says_so_and_changes_nothing(made: Any, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "duo 0001.png").write_bytes(picture)
    with pytest.raises(RuntimeError, match="does not say how it was made"):
        made.ops.beyondscene.restore_settings()
    assert made.context.scene.beyondscene.quality == "STANDARD"
    (tmp_path / "duo 0001.png").unlink()
    for click in (made.ops.beyondscene.restore_settings, made.ops.beyondscene.render_again):
        with pytest.raises(RuntimeError, match=r"duo 0001\.png is gone: render it again, or put the file back"):
            click()
    with pytest.raises(RuntimeError, match="is gone"):
        made.ops.beyondscene.place_picture(destination="WORLD")


def test_a_picture_that_is_packed_needs_its_file_for_a_strip_alone(
    made: Any, start_peer: Any, use_backend: Any, tmp_path: Path, picture: bytes
) -> None:
    use_backend(start_peer(picture=picture).connection)
    made.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    chosen().pack()
    (tmp_path / "duo 0001.png").unlink()
    for destination in sorted(DESTINATIONS.keys() - {"IMAGE_EDITOR", "SEQUENCER"}):
        assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
    with pytest.raises(RuntimeError, match="is gone"):
        made.ops.beyondscene.place_picture(destination="SEQUENCER")
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"} and made.context.scene.beyondscene.prompt == "a quay"
    assert made.ops.beyondscene.render_again() == {"FINISHED"}
    until(lambda: not session.current().jobs)
    assert (tmp_path / "renders" / "duo 0001.png").exists()


def test_a_picture_of_a_library_lies_where_the_library_says(made: Any, tmp_path: Path) -> None:
    made.ops.wm.save_as_mainfile(filepath=str(tmp_path / "asset.blend"))
    image = chosen()
    image.filepath = made.path.relpath(image.filepath)
    made.ops.wm.save_mainfile()
    (tmp_path / "shots").mkdir()
    made.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    made.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shots" / "shot.blend"))
    with made.data.libraries.load(str(tmp_path / "asset.blend"), link=True) as (there, here):
        here.images = there.images
    assert images.path_of(chosen()) == tmp_path / "duo 0001.png"
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"} and made.context.scene.beyondscene.prompt == "a quay"


def test_a_picture_may_be_called_anything_and_those_of_older_files_are_found_by_their_names(made: Any) -> None:
    image = chosen()
    image.name = "Hero shot"
    assert chosen() == image and "Hero shot, of 1" in drawn(panels.BEYONDSCENE_PT_pictures)
    other = made.data.images.new("BeyondScene duo 0002", 8, 8)  # without a mark
    made.data.images.new("Texture", 8, 8)
    assert set(images.finished_pictures()) == {image, other}


def test_a_picture_that_is_renamed_stays_the_chosen_one(made: Any, tmp_path: Path) -> None:
    (tmp_path / "duo 0002.png").write_bytes((tmp_path / "duo 0001.png").read_bytes())
    editors.load_picture(tmp_path / "duo 0002.png")
    made.context.window_manager.beyondscene_picture = "BeyondScene duo 0001"
    image = chosen()
    image.name = "A hero shot"
    assert chosen() == image and made.context.window_manager.beyondscene_picture == "A hero shot"
    session.current().picture = images.PictureRef()


def test_masks_that_would_fill_the_memory_are_refused_and_settings_come_back_all_the_same(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "duo 0001.png"
    record = read_record(path)
    request = request_from_json(bytes(record.request))
    vast = ArrayRef(digest="0" * 64, dtype="uint8", shape=(20000, 30000))
    request = replace(request, characters=tuple(replace(one, mask=vast) for one in request.characters))
    record = replace(record, request=msgspec.Raw(msgspec.json.encode(request)), arrays={vast.digest: b""})
    write_picture(path, Picture(np.zeros((64, 96, 3), np.uint8)), record)
    assert made.ops.beyondscene.restore_settings() == {"FINISHED"} and made.context.scene.beyondscene.prompt == "a quay"
    with pytest.raises(RuntimeError, match=r"the mask of 'Eve' has shape \(20000, 30000\)"):
        made.ops.beyondscene.render_again()


def test_a_picture_from_elsewhere_is_opened_with_its_settings(
    blender: Any, made: Any, example: Example, tmp_path: Path
) -> None:
    example("duo")  # a file without pictures
    assert history.chosen() is None and "Open Picture" in drawn(panels.BEYONDSCENE_PT_pictures)
    assert blender.ops.beyondscene.open_picture(filepath=str(tmp_path / "duo 0001.png")) == {"FINISHED"}
    assert chosen().name == "BeyondScene duo 0001"
    assert blender.ops.beyondscene.restore_settings() == {"FINISHED"}
    assert blender.context.scene.beyondscene.prompt == "a quay"
    blank = tmp_path / "blank.png"
    image = blender.data.images.new("blank", 8, 8)
    image.filepath_raw, image.file_format = str(blank), "PNG"
    image.save()
    missing = r"gone\.png cannot be read \(No such file or directory\): choose another picture"
    for path, words in ((blank, "does not say how it was made"), (tmp_path / "gone.png", missing)):
        with pytest.raises(RuntimeError, match=words):
            blender.ops.beyondscene.open_picture(filepath=str(path))
    assert chosen().name == "BeyondScene duo 0001"
    session.current().picture = images.PictureRef()


def test_a_picture_that_is_listed_is_not_listed_again_when_it_is_opened(made: Any, tmp_path: Path) -> None:
    image, path = chosen(), str(tmp_path / "duo 0001.png")
    image.name = "Hero shot"
    assert made.ops.beyondscene.open_picture(filepath=path) == {"FINISHED"}
    assert images.finished_pictures() == [image] and chosen() == image
    image.pixels[0] = 1
    assert made.ops.beyondscene.open_picture(filepath=path) == {"FINISHED"}
    assert image.is_dirty and image.pixels[0] == 1  # what was painted on it stays
    session.current().picture = images.PictureRef()


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
            assert made.ops.beyondscene.place_picture(destination=destination) == {"FINISHED"}
            (background,) = scene.camera.data.background_images  # a second click adds no second one
            assert background.image == image and scene.camera.data.show_background_images
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


def test_a_plane_fills_the_frame_of_a_camera_whose_parent_is_scaled_unevenly(made: Any) -> None:
    scene, dolly = made.context.scene, made.data.objects.new("Dolly", None)
    scene.collection.objects.link(dolly)
    scene.camera.parent, dolly.scale = dolly, (1, 1.5, 0.8)
    made.context.view_layer.update()
    assert made.ops.beyondscene.place_picture(destination="IMAGE_PLANE") == {"FINISHED"}
    (plane,) = scene.camera.children
    check_fills_the_frame(made, plane, chosen())


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


def test_the_gallery_lists_pictures_and_shows_their_thumbnails(made: Any, tmp_path: Path) -> None:
    import cv2

    second = tmp_path / "duo 0002.png"
    second.write_bytes((tmp_path / "duo 0001.png").read_bytes())
    editors.load_picture(second)
    jpeg = cv2.imencode(".jpg", np.full((30, 40, 3), (0, 128, 255), np.uint8))[1].tobytes()
    thumbnails.keep(second, jpeg)
    names = [item[1] for item in history.list_items(None, None)]
    assert names == ["duo 0001", "duo 0002"]
    assert thumbnails.icons is not None
    thumbnails.forget(str(second))  # as in a Blender that was started again
    assert thumbnails.icon_of(second) == 0
    assert thumbnails.draw_wanted() is None
    shown = np.array(thumbnails.icons[str(second)].image_pixels_float).reshape(30, 40, 4)
    assert abs(shown.mean((0, 1)) - (1, 0.5, 0, 1)).max() < 0.03
    assert len(made.data.images) == 2  # the thumbnail left no datablock
    manager = made.context.window_manager
    assert manager.beyondscene_picture == "BeyondScene duo 0002"
    manager.beyondscene_picture = "BeyondScene duo 0001"
    assert chosen().name == "BeyondScene duo 0001"
    assert "duo 0001, of 2" in drawn(panels.BEYONDSCENE_PT_pictures)


def test_a_picture_is_deleted_from_the_gallery_and_from_the_disk_only_if_that_is_ticked(made: Any, tmp_path: Path) -> None:
    first, folder = tmp_path / "duo 0001.png", tmp_path / "duo animation 0001"
    folder.mkdir()
    for frame in ("0001.png", "0002.png"):
        (folder / frame).write_bytes(first.read_bytes())
    assert "Delete Picture" in drawn(panels.BEYONDSCENE_PT_pictures)
    assert made.ops.beyondscene.delete_picture() == {"FINISHED"}
    assert history.chosen() is None and first.exists() and not made.ops.beyondscene.delete_picture.poll()
    editors.load_picture(first)
    session.current().picture = images.PictureRef.of(editors.load_picture(folder / "0001.png"))
    assert made.ops.beyondscene.delete_picture(delete_file=True) == {"FINISHED"}
    assert not folder.exists() and chosen().name == "BeyondScene duo 0001"
    assert made.ops.beyondscene.delete_picture(delete_file=True) == {"FINISHED"}
    assert not first.exists() and not made.data.images


def test_an_undo_brings_a_deleted_picture_back_and_a_redo_deletes_it_again(made: Any, tmp_path: Path) -> None:
    for picture in made.data.images:
        made.data.images.remove(picture)
    made.ops.ed.undo_push(message="before")

    def finish(name: str) -> None:
        (tmp_path / name).write_bytes((tmp_path / "duo 0001.png").read_bytes())
        editors.load_picture(tmp_path / name)

    def listed() -> list[str]:
        return [one.name.removeprefix(images.NAME) for one in images.finished_pictures()]

    finish("duo 0002.png")
    assert made.ops.beyondscene.delete_picture("EXEC_DEFAULT", True) == {"FINISHED"}
    assert listed() == []
    made.ops.ed.undo()
    assert listed() == ["duo 0002"]
    finish("duo 0003.png")
    made.ops.ed.redo()
    assert listed() == ["duo 0003"]  # which came meanwhile


def test_a_redraw_asks_the_disk_for_no_thumbnail_that_was_not_there(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    sought: list[Path] = []
    place_of = thumbnails.place_of
    monkeypatch.setattr(thumbnails, "place_of", lambda picture: sought.append(picture) or place_of(picture))
    for _ in range(3):
        assert [item[3] for item in history.list_items(None, None)] == [0]
    assert sought == [tmp_path / "duo 0001.png"]
    thumbnails.keep(sought[0], cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())  # as of one that is made again
    assert thumbnails.icons is not None and str(sought[0]) in thumbnails.icons


def test_a_file_that_is_opened_shows_the_picture_that_was_made_last_whatever_its_name(made: Any, tmp_path: Path) -> None:
    for name, written_s in (("duo 0002", 2_000), ("an older name 0009", 1_000), ("zoo 0001", 1_500)):
        path = tmp_path / f"{name}.png"
        path.write_bytes((tmp_path / "duo 0001.png").read_bytes())
        editors.load_picture(path)
        os.utime(path, (written_s, written_s))
    (tmp_path / "duo 0001.png").unlink()
    made.ops.wm.save_as_mainfile(filepath=str(tmp_path / "duo.blend"))
    made.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert history.chosen() is None
    made.ops.wm.open_mainfile(filepath=str(tmp_path / "duo.blend"))
    assert chosen().name == "BeyondScene duo 0002"


def test_the_picture_that_grows_is_shown_and_kept_as_thumbnail(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    own = blender.context.scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path / "renders"), "CUSTOM", 100
    own.use_own_size, own.width, own.height = True, 128, 128
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    state = session.current()
    until(lambda: state.job and state.job.preview)
    assert thumbnails.icons is not None and thumbnails.GROWING in thumbnails.icons
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert "Enlarging, level 1/1, step" in shown and "Cancel" in shown and "%" in shown
    until(lambda: not state.jobs)
    assert not state.error and thumbnails.GROWING not in thumbnails.icons
    assert thumbnails.place_of(tmp_path / "renders" / "duo 0001.png").exists()


def test_a_picture_that_grows_gives_blender_no_scene_to_evaluate_anew_and_leaves_nothing_behind(
    blender: Any, example: Example, tmp_path: Path
) -> None:
    import cv2

    example("duo")
    updates: list[object] = []
    blender.app.handlers.depsgraph_update_post.append(note := lambda *_: updates.append(1))
    assert thumbnails.icons is not None
    for grey in (0, 128, 255):
        preview.show(cv2.imencode(".jpg", np.full((30, 40, 3), grey, np.uint8))[1].tobytes(), "")
        blender.context.view_layer.update()
        assert abs(np.array(thumbnails.icons[thumbnails.GROWING].image_pixels_float)[0] - grey / 255) < 0.01
        if not grey:
            updates.clear()
    blender.app.handlers.depsgraph_update_post.remove(note)
    assert not updates and not images.finished_pictures()
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"), copy=True)
    with blender.data.libraries.load(str(tmp_path / "saved.blend")) as (there, _):
        assert not there.images
    preview.leave()
    assert thumbnails.GROWING not in thumbnails.icons and not blender.data.images


def test_only_the_first_frame_of_an_animation_keeps_a_thumbnail(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    scene = blender.context.scene
    own = scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 20
    own.use_own_size, own.width, own.height = True, 128, 128
    scene.frame_start, scene.frame_end = 1, 3
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    first = images.path_of(chosen())
    kept = thumbnails.place_of(first)
    assert list(kept.parent.iterdir()) == [kept]
    assert thumbnails.icons is not None and [name for name in thumbnails.icons if str(tmp_path) in name] == [str(first)]


def test_each_frame_of_a_range_is_a_picture_named_by_its_number(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end, scene.frame_step = 8, 12, 2
    scene.frame_set(5)
    rig = blender.data.objects["Eve"]
    for frame, x in ((8, rig.location.x), (12, rig.location.x + 0.4)):
        rig.location.x = x
        rig.keyframe_insert("location", frame=frame)
    chosen = scene.camera
    other = blender.data.objects.new("Other", chosen.data)
    scene.collection.objects.link(other)
    other.matrix_world = chosen.matrix_world
    for frame, camera in ((1, other), (12, chosen)):
        scene.timeline_markers.new("cut", frame=frame).camera = camera
    blender.context.view_layer.update()
    scene.camera = chosen  # whatever the marker says
    rig["mood"] = 1.0
    rig.keyframe_insert('["mood"]', frame=8)
    bone = rig.pose.bones["upperarm_l"]
    bone.keyframe_insert("rotation_quaternion", frame=8)
    rig.location.x, rig["mood"], bone.rotation_quaternion = 7, 0.5, (0, 1, 0, 0)  # not keyed yet
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    assert scene.camera == chosen
    assert (rig.location.x, rig["mood"], tuple(bone.rotation_quaternion)) == (7, 0.5, (0, 1, 0, 0))
    folder = tmp_path / "duo animation 0001"
    assert sorted(one.name for one in folder.iterdir()) == ["0008.png", "0010.png", "0012.png"]
    assert scene.frame_current == 5
    eves = [one.request.characters[0].keypoints[0].x for one in peer.heard if isinstance(one, Submit)]
    assert len(set(eves)) == 3
    (image,) = blender.data.images
    assert image.source == "SEQUENCE" and image.name == "BeyondScene duo animation 0001"
    assert blender.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    editor = scene.sequence_editor
    (strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences
    names = [f"{number:04d}.png" for number in (8, 8, 10, 10, 12)]  # in step with the scene
    assert [one.filename for one in strip.elements] == names
    assert (strip.frame_final_start, strip.frame_final_end) == (5, 10)
    assert blender.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND") == {"FINISHED"}
    (background,) = scene.camera.data.background_images
    assert blender.ops.beyondscene.place_picture(destination="IMAGE_PLANE") == {"FINISHED"}
    corners = np.array([vertex.co for vertex in scene.objects[image.name].data.vertices])
    assert np.ptp(corners[:, 0]) == pytest.approx(np.ptp(corners[:, 1])) and np.ptp(corners[:, 0]) > 1  # as square as it is
    scene.frame_set(10)
    assert background.image_user.frame_current == 10  # the frame that is shown is that of the scene
    scene.frame_end = 5000
    assert not blender.ops.beyondscene.render_animation.poll()


def test_people_may_leave_the_frame_while_an_animation_goes_on(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene, (eve, flo) = blender.context.scene, (blender.data.objects[name] for name in ("Eve", "Flo"))
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    for rig, leaves in ((eve, 2), (flo, 3)):
        rig.keyframe_insert("location", frame=leaves - 1)
        rig.location.x = 50
        rig.keyframe_insert("location", frame=leaves)
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    names = [[who.name for who in one.request.characters] for one in peer.heard if isinstance(one, Submit)]
    assert names == [["Eve", "Flo"], ["Flo"], []]


def test_an_animation_goes_on_where_everybody_is_hidden(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    for thing in [one for one in scene.objects if one.type in ("ARMATURE", "MESH")]:
        for frame, hidden in ((1, False), (2, True), (3, False)):
            thing.hide_viewport = hidden
            thing.keyframe_insert("hide_viewport", frame=frame)
    scene.frame_set(1)
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    people = [len(one.request.characters) for one in peer.heard if isinstance(one, Submit)]
    assert people == [2, 0, 2]


def test_an_animation_may_have_more_frames_than_the_backend_lets_wait(
    blender: Any, example: Example, start_gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_gateway(waiting_jobs=2).connection())
    scene, state = blender.context.scene, session.current()
    own = scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 999
    own.use_own_size, own.width, own.height = True, 64, 64
    scene.frame_start, scene.frame_end = 1, 5
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    own.knobs.steps = 1
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    while animation.turn() is not None:
        pass
    first, *others = state.jobs.values()
    assert [one.sent for one in others] == [True, False, False, False, False]
    state.cancel(first.id)
    until(lambda: not state.jobs)
    assert len(list((tmp_path / "duo animation 0001").iterdir())) == 5 and not state.error


def test_what_was_finished_of_an_animation_that_is_cancelled_is_listed(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    scene, state = blender.context.scene, session.current()
    own = scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 150
    own.use_own_size, own.width, own.height = True, 64, 64
    scene.frame_start, scene.frame_end = 1, 3
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    while animation.turn() is not None:
        pass
    until(lambda: len(state.jobs) == 2)
    assert not images.finished_pictures()
    assert blender.ops.beyondscene.cancel() == {"FINISHED"}
    until(lambda: not state.jobs)
    assert blender.data.images.keys() == ["BeyondScene duo animation 0001"] and not state.error


def test_the_frames_that_an_animation_lacks_are_rendered_as_those_that_it_has(
    made: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene, folder = made.context.scene, tmp_path / "duo animation 0001"
    eve, flo = (made.data.objects[name] for name in ("Eve", "Flo"))
    folder.mkdir()
    for frame in (2, 4):
        (folder / f"{frame:04d}.png").write_bytes((tmp_path / "duo 0001.png").read_bytes())
    said = eve.beyondscene.prompt
    scene.beyondscene.prompt, eve.beyondscene.prompt, scene.frame_start, scene.frame_end = "a desert", "a bear", 1, 5
    pending_pictures.remember(new_job_id(), pending_pictures.Promise(picture=str(folder / "0005.png")))  # asked for before
    assert "Render Missing Frames" not in drawn(panels.BEYONDSCENE_PT_pictures)
    assert not made.ops.beyondscene.render_missing.poll()  # of a single picture
    editors.load_picture(folder / "0002.png")
    assert chosen().source == "SEQUENCE" and "Render Missing Frames" in drawn(panels.BEYONDSCENE_PT_pictures)
    flo.location.x += 0.3
    flo.keyframe_insert("location", frame=3)
    flo.location.x -= 0.3
    flo.keyframe_insert("location", frame=1)
    models, scene.beyondscene.models = scene.beyondscene.models, ""  # whatever the scene asks for now
    assert not made.ops.beyondscene.render_animation.poll()
    assert made.ops.beyondscene.render_missing(wait=True) == {"FINISHED"}
    scene.beyondscene.models = models
    assert sorted(one.name for one in folder.iterdir()) == [f"{frame:04d}.png" for frame in range(1, 6)]
    first, third = (one for one in peer.heard if isinstance(one, Submit))
    for one in (first, third):
        asked = one.request
        assert (asked.prompt, asked.seed, asked.width, asked.height, one.models) == ("a quay", 11, 96, 64, "tiny")
        assert (asked.settings, asked.characters[0].prompt) == (SETTINGS, said)
    assert third.request.characters[1].keypoints[0].x > first.request.characters[1].keypoints[0].x + 2
    assert scene.beyondscene.prompt == "a desert"  # the scene is left alone
    assert len([one for one in images.finished_pictures() if one.source == "SEQUENCE"]) == 1
    assert made.ops.beyondscene.render_missing() == {"CANCELLED"} and not animation.recording()
    assert images.path_of(chosen()) == folder / "0002.png"  # the first one when it was made
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    editor = scene.sequence_editor
    (strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences
    assert [one.filename for one in strip.elements] == [f"{frame:04d}.png" for frame in range(1, 6)]


def test_other_files_beside_its_frames_do_not_stop_an_animation_from_being_completed(
    made: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene, folder = made.context.scene, tmp_path / "duo animation 0001"
    folder.mkdir()
    (folder / "0002.png").write_bytes((tmp_path / "duo 0001.png").read_bytes())
    for foreign in ("0001.png", "contact sheet.png"):
        (folder / foreign).write_bytes(picture)  # without a record
    (folder / "0009.png").mkdir()
    editors.load_picture(folder / "0002.png")
    assert images.path_of(chosen()) == folder / "0001.png"  # and not the sheet
    scene.beyondscene.prompt, scene.frame_start, scene.frame_end = "a desert", 1, 3
    assert made.ops.beyondscene.render_missing(wait=True) == {"FINISHED"}
    (third,) = (one for one in peer.heard if isinstance(one, Submit))
    assert third.request.prompt == "a quay" and (folder / "0003.png").exists()
    scene.frame_end = 4
    (folder / "0002.png").write_bytes(picture)
    with pytest.raises(RuntimeError, match=r"0001\.png does not say how it was made"):
        made.ops.beyondscene.render_missing(wait=True)
    with pytest.raises(RecordError, match=r"0009\.png cannot be read"):
        FrozenSettings.of_frames([folder / "0009.png"])


def test_a_frame_that_no_backend_is_known_to_have_is_missing(
    made: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    use_backend(start_peer(picture=picture).connection)
    session.current().start(preferences.get(made.context))
    until(lambda: session.current().link.state == "ready")
    scene, folder = made.context.scene, tmp_path / "duo animation 0001"
    folder.mkdir()
    (folder / "0001.png").write_bytes((tmp_path / "duo 0001.png").read_bytes())
    editors.load_picture(folder / "0001.png")
    scene.frame_start, scene.frame_end = 1, 3
    ids = [new_job_id() for _ in range(2)]
    for frame, job_id in enumerate(ids, 2):
        pending_pictures.remember(job_id, pending_pictures.Promise(picture=str(folder / f"{frame:04d}.png")))
    assert made.ops.beyondscene.render_missing() == {"CANCELLED"}
    pending_pictures.miss(ids[0])  # by a backend that does not know it
    assert made.ops.beyondscene.render_missing(wait=True) == {"FINISHED"}
    assert sorted(one.name for one in folder.iterdir()) == ["0001.png", "0002.png"]


def test_an_animation_goes_on_while_the_windows_show_another_scene(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    rig = blender.data.objects["Eve"]
    for frame in (1, 3):
        rig.location.x += 0.1 * frame
        rig.keyframe_insert("location", frame=frame)
    other = blender.data.scenes.new("Other")
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    blender.context.window.scene = other
    assert "Cancel All" in drawn(panels.BEYONDSCENE_PT_main)  # before the first frame is sent
    while animation.turn() is not None:
        assert blender.context.scene == other
    until(lambda: not session.current().jobs)
    eves = [one.request.characters[0].keypoints[0].x for one in peer.heard if isinstance(one, Submit)]
    assert len(set(eves)) == 3 and not session.current().error
    blender.context.window.scene = scene
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    example("duo")
    animation.turn()
    assert "The scene was closed" in session.current().error


def test_a_picture_of_an_earlier_blender_is_followed_and_can_be_cancelled(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    own = blender.context.scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path / "renders"), "CUSTOM", 999
    own.use_own_size, own.width, own.height = True, 64, 64
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    state = session.current()
    until(lambda: state.job and state.job.running)
    state.stop()  # Blender closes; the gateway goes on
    assert "A picture is still under way from before" in drawn(panels.BEYONDSCENE_PT_main)
    state.start(preferences.get(blender.context))
    until(lambda: state.job and state.job.fraction > 0)
    assert "Enlarging" in drawn(panels.BEYONDSCENE_PT_main)
    assert blender.ops.beyondscene.cancel() == {"FINISHED"}
    until(lambda: not state.jobs)
    assert not state.error


@pytest.mark.parametrize("name", ["duo", "a shot whose name is longer than what Blender has room for in a name"])
def test_an_animation_is_known_by_its_folder_and_not_by_its_name(
    blender: Any, picture: bytes, tmp_path: Path, name: str
) -> None:
    frames = [tmp_path / place / f"{name} animation 0001" / "0001.png" for place in ("first", "second")]
    for frame in frames:
        frame.parent.mkdir(parents=True)
        frame.write_bytes(picture)
        shown = {editors.load_picture(frame) for _ in range(2)}  # as when more of its frames have come
        assert [images.path_of(image) for image in shown] == [frame]
    assert {images.path_of(image) for image in images.finished_pictures()} == set(frames)


def test_frames_come_in_their_order_beyond_four_digits(tmp_path: Path) -> None:
    sequence = tmp_path / "duo animation 0001"
    sequence.mkdir()
    for number in (10000, 9998, 9999):
        (sequence / f"{number:04d}.png").touch()
    assert [path.stem for path in images.frames_beside(sequence / "9999.png")] == ["9998", "9999", "10000"]
