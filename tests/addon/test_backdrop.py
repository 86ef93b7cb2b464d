"""A picture of the place that the artist chose goes with the request, and comes back with restored settings."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import OpenEXR
import pytest
from PIL import Image

pytest.importorskip("bpy")

from beyondscene.addon import editors, history, images, panels
from beyondscene.addon.exporters import PICTURE_PLANE, ExportError, export_request
from beyondscene.addon.exporters.backdrop import number_file, read_pixels, shrink
from beyondscene.backend.outputs import Picture, write_picture
from beyondscene.protocol import WireError, check_request
from beyondscene.protocol.record import make_record

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]
COLOURS = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


def save(blender: Any, array: np.ndarray, path: Path) -> None:
    image = images.from_array("drawn", array)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    blender.data.images.remove(image)


def test_a_backdrop_goes_with_the_request_and_is_restored(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    scene = blender.context.scene
    own = scene.beyondscene
    save(blender, COLOURS, tmp_path / "set.png")
    own.backdrop, own.backdrop_strength = blender.data.images.load(str(tmp_path / "set.png")), 0.4
    assert "Backdrop:\n\nRender Set\nDrawn Anew" in drawn(panels.BEYONDSCENE_PT_main)  # the label leaves the name its room
    request, arrays = export_request(blender.context, width=768, height=512)
    check_request(request)
    assert request.backdrop and request.backdrop.strength == 0.4
    assert (arrays[request.backdrop.image.digest] == COLOURS).all() and len(arrays) == 3  # and two masks
    record = make_record(request, arrays, "tiny", {}, "a test")
    before = own.backdrop
    history.restore_backdrop(scene, record, request)
    assert own.backdrop == before  # which is the same picture
    own.backdrop_strength = 0  # which keeps no more than the models would, as the slider at its left end must say
    assert "Drawn Anew (0: Models' Own)" in drawn(panels.BEYONDSCENE_PT_main)
    own.backdrop, own.backdrop_strength = None, 0
    history.restore_backdrop(scene, record, request)
    again, _ = export_request(blender.context, width=768, height=512)
    assert own.backdrop not in (before, None) and again.backdrop == request.backdrop
    assert not images.is_ours(own.backdrop)  # no finished picture
    own.backdrop = before.copy()
    own.backdrop.scale(45, 30)
    with pytest.raises(WireError, match="The backdrop is not in the picture"):
        history.restore_backdrop(scene, msgspec.structs.replace(record, arrays={}), request)
    own.backdrop = None
    plain, _ = export_request(blender.context, width=768, height=512)
    own.backdrop = before
    history.restore_backdrop(scene, make_record(plain, {}, "tiny", {}, "a test"), plain)
    assert plain.backdrop is None and own.backdrop is None


def test_of_a_sequence_the_file_of_the_frame_is_taken(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    scene = blender.context.scene
    for number in (1, 2):
        clear = np.dstack([COLOURS, np.full((60, 90), 9, np.uint8)])[::number] // number
        Image.fromarray(clear).save(tmp_path / f"set {number:03d}.png")
    image = blender.data.images.load(str(tmp_path / "set 001.png"))
    image.source, image.alpha_mode, scene.beyondscene.backdrop = "SEQUENCE", "NONE", image
    scene.beyondscene.use_own_size, scene.beyondscene.width, scene.beyondscene.height = True, 768, 512
    scene.frame_set(1)
    request, arrays = export_request(blender.context)
    assert request.backdrop and (arrays[request.backdrop.image.digest] == COLOURS).all()
    picture = tmp_path / "duo animation 0001" / "0001.png"
    picture.parent.mkdir()
    write_picture(picture, Picture(np.zeros((64, 96, 3), np.uint8)), make_record(request, arrays, "tiny", {}, "a test"))
    editors.load_picture(picture)
    scene.frame_set(2)
    assert blender.ops.beyondscene.restore_settings() == {"FINISHED"} and scene.beyondscene.backdrop == image
    with pytest.raises(ExportError, match="is 90x30 px, of other proportions than the picture's 768x512: cut it to those"):
        export_request(blender.context)
    scene.frame_set(3)
    with pytest.raises(ExportError, match=r"has no file for frame 3, .*set 003\.png: render it"):
        export_request(blender.context)
    image.filepath = ""  # not chosen yet
    with pytest.raises(ExportError, match="has no file for frame 3"):
        export_request(blender.context)
    assert number_file(Path("a 09 shot.exr"), 12).name == "a 12 shot.exr" and number_file(Path("a.png"), 3).name == "a.png"
    scene.render.filepath, scene.render.image_settings.file_format = str(tmp_path / "a_"), "PNG"
    assert number_file(tmp_path / "a_0001.png", -5) == Path(scene.render.frame_path(frame=-5))


@pytest.mark.parametrize(("space", "grey"), [("Linear Rec.709", 188), ("sRGB", 127)])
def test_a_sequence_is_read_in_the_colour_space_that_it_was_given(
    blender: Any, example: Example, tmp_path: Path, space: str, grey: int
) -> None:
    example("duo")
    half = {"RGB": np.full((60, 90, 3), 0.5, np.float32)}
    OpenEXR.File({"type": OpenEXR.scanlineimage}, half).write(str(tmp_path / "light 0001.exr"))
    image = blender.data.images.load(str(tmp_path / "light 0001.exr"))
    image.source, image.colorspace_settings.name = "SEQUENCE", space
    image.alpha_mode, blender.context.scene.beyondscene.backdrop = "NONE", image
    blender.context.scene.frame_set(1)
    request, arrays = export_request(blender.context, width=768, height=512)
    assert request.backdrop and (arrays[request.backdrop.image.digest] == grey).all()
    assert len(blender.data.images) == 1  # that file is not left in the scene as well


def test_what_has_no_pixels_is_refused(blender: Any, example: Example) -> None:
    example("duo")
    own = blender.context.scene.beyondscene
    own.backdrop = blender.data.images.new("gone", 90, 60)
    own.backdrop.source, own.backdrop.filepath = "FILE", "//gone.png"
    with pytest.raises(
        ExportError, match="'gone' has no pixels that Blender hands out: if its file is gone, put it back; if it has layers"
    ):
        export_request(blender.context, width=768, height=512)
    own.backdrop.source = "MOVIE"
    with pytest.raises(ExportError, match="'gone' is a film: save a picture of it, or one per frame"):
        export_request(blender.context, width=768, height=512)


def test_what_is_transparent_is_grey_and_what_is_linear_becomes_srgb(blender: Any, example: Example) -> None:
    example("duo")
    own = blender.context.scene.beyondscene
    own.backdrop = image = blender.data.images.new("half", 3, 2, alpha=True, float_buffer=True)
    pixels = np.array([[0.2159, 0.2159, 0.2159, 1], [0, 0, 0, 0], [0.1079, 0.1079, 0.1079, 0.5]] * 2, np.float32)
    image.pixels.foreach_set(pixels.ravel())
    request, arrays = export_request(blender.context, width=768, height=512)
    assert request.backdrop and arrays[request.backdrop.image.digest][0, :, 0].tolist() == [128, 128, 128]


def test_a_sun_that_is_beyond_all_numbers_is_white_and_leaves_its_neighbours_alone(blender: Any, example: Example) -> None:
    example("duo")
    blender.context.scene.beyondscene.backdrop = image = blender.data.images.new("sky", 12, 3072, float_buffer=True)
    pixels = np.full((3072, 12, 4), 0.2159, np.float32)
    pixels[..., 3], pixels[99, 0], pixels[99, 1], pixels[99, 2, 0] = 1, np.inf, np.nan, 1e4
    image.pixels.foreach_set(pixels.ravel())
    values = shrink(read_pixels(image), 1024)
    assert np.allclose(values[33, 0], (1 + 2 * values[0, 0]) / 3, atol=1e-3) and values.max() <= 1
    assert np.allclose(np.delete(values, 33, 0), 0.502, atol=1e-3) and np.isfinite(values).all()


def test_a_large_one_is_made_as_small_as_base_images_are() -> None:
    values = np.random.default_rng(1).random((7, 5, 3)).astype(np.float32)
    assert np.allclose(shrink(values.repeat(3, 0), 7), values, atol=1e-6)
    assert np.allclose(shrink(values, 2)[0], (values[:3].sum(0) + values[3] / 2) / 3.5, atol=1e-6)
    assert shrink(values, 9) is values
    large = np.ones((3000, 400, 3), np.float32)
    tracemalloc.start()  # which numpy tells what it takes
    shrink(large, 1000)
    assert tracemalloc.get_traced_memory()[1] < 2 * large.nbytes
    tracemalloc.stop()


def test_the_set_is_rendered_without_its_people_and_nothing_else_changes(
    blender: Any, example: Example, tmp_path: Path
) -> None:
    example("duo")
    scene = blender.context.scene
    own, layer, eve = scene.beyondscene, blender.context.view_layer, blender.data.objects["Eve"]
    scene.render.engine, scene.cycles.samples, own.output_folder = "CYCLES", 1, str(tmp_path)
    own.use_own_size, own.width, own.height = True, 192, 128
    for light in (one for one in scene.objects if one.type == "LIGHT"):
        light.hide_set(True)  # out of the artist's way; it is rendered
    before = [*blender.data.scenes], scene.render.filepath, scene.render.resolution_x, [*layer.objects]
    assert blender.ops.beyondscene.render_backdrop() == {"FINISHED"}
    assert before == ([*blender.data.scenes], scene.render.filepath, scene.render.resolution_x, [*layer.objects])
    assert Path(own.backdrop.filepath) == tmp_path / f"{images.blend_name()} set 0001.png"
    request, arrays = export_request(blender.context)
    assert request.backdrop
    empty, mask = arrays[request.backdrop.image.digest], arrays[request.characters[0].mask.digest]  # type: ignore[union-attr]
    eve.beyondscene.enabled = False  # then she is of the set
    assert blender.ops.beyondscene.render_backdrop() == {"FINISHED"} and "set 0002" in own.backdrop.filepath
    request, arrays = export_request(blender.context)
    assert request.backdrop
    differs = np.abs(arrays[request.backdrop.image.digest].astype(int) - empty).max(-1) > 8
    assert differs.shape == (128, 192) and differs[mask == 255].mean() > 0.5 > 5 * differs[mask == 128].mean()
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "moved.blend"))
    assert blender.ops.beyondscene.render_backdrop() == {"FINISHED"} and own.backdrop.filepath == "//moved set 0001.png"
    scene.camera = None
    assert not blender.ops.beyondscene.render_backdrop.poll()


def render_set(blender: Any) -> np.ndarray:
    assert blender.ops.beyondscene.render_backdrop() == {"FINISHED"}
    request, arrays = export_request(blender.context)
    assert request.backdrop
    return arrays[request.backdrop.image.digest].astype(int)


def set_up(blender: Any, folder: Path) -> Any:
    scene, own = blender.context.scene, blender.context.scene.beyondscene
    scene.render.engine, scene.cycles.samples, own.output_folder = "CYCLES", 1, str(folder)
    own.use_own_size, own.width, own.height = True, 96, 64
    return scene


def test_how_renders_are_written_is_nothing_to_the_set(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    scene, folder = set_up(blender, tmp_path / "sets"), tmp_path / "sets"
    plain = render_set(blender)
    scene.render.use_multiview = scene.render.use_stamp = True
    output = scene.render.image_settings
    output.color_management, output.view_settings.view_transform = "OVERRIDE", "Raw"
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot {2}.blend"))
    assert (render_set(blender) == plain).all()
    assert sorted(one.name for one in folder.iterdir()) == ["duo set 0001.png", "shot {2} set 0001.png"]


def test_the_set_is_as_the_view_layer_shows_it_without_our_pictures(blender: Any, example: Example, tmp_path: Path) -> None:
    from mathutils import Matrix

    example("duo")
    scene = set_up(blender, tmp_path)
    plain, collections = render_set(blender), {*blender.data.collections}
    scene.view_layers[0].material_override = blender.data.materials.new("clay")
    shown = blender.context.window.view_layer = scene.view_layers.new("shown")
    shown.use = False
    cards = blender.data.collections.new("cards")
    scene.collection.children.link(cards)
    blender.ops.mesh.primitive_plane_add(size=9)  # before all that the camera sees
    card = blender.context.object
    card.parent, card.matrix_parent_inverse, card.location = scene.camera, Matrix(), (0, 0, -1)
    scene.collection.objects.unlink(card)
    cards.objects.link(card)
    card[PICTURE_PLANE] = True
    assert (render_set(blender) == plain).all()
    del card[PICTURE_PLANE]
    card.visible_shadow = card.visible_diffuse = card.visible_glossy = False
    assert np.abs(render_set(blender) - plain).mean() > 9
    shown.layer_collection.children["cards"].indirect_only = True
    assert (render_set(blender) == plain).all() and {*blender.data.collections} == {*collections, cards}


def test_of_an_instance_only_the_people_are_left_out(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    scene = set_up(blender, tmp_path)
    plain = render_set(blender)
    objects, collections = {*blender.data.objects}, {*blender.data.collections}
    place, instancer = blender.data.collections.new("place"), blender.data.objects.new("place", None)
    for thing in (blender.data.objects[name] for name in ("Ground", "Eve", "Eve.body")):
        for holder in thing.users_collection:
            holder.objects.unlink(thing)
        place.objects.link(thing)
    instancer.instance_type, instancer.instance_collection, place.instance_offset = "COLLECTION", place, (1, 2, 0)
    instancer.location = place.instance_offset
    scene.collection.objects.link(instancer)
    assert np.abs(render_set(blender) - plain).max() <= 2
    assert {*blender.data.objects} == {*objects, instancer} and {*blender.data.collections} == {*collections, place}
