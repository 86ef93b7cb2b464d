"""In which Image Editors a picture is shown, and what they show afterwards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import editors, images, preview, undo
from beyondscene.addon.images import PREVIEW

JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 128, np.uint8))[1].tobytes()


@pytest.fixture
def spaces(blender: Any) -> Iterator[dict[str, Any]]:
    """Four Image Editors side by side, each in use for something else."""
    areas = list(blender.context.window_manager.windows[0].screen.areas)[:4]
    kinds = [area.type for area in areas]
    reference = blender.data.images.new("reference", 8, 8)
    for area in areas:
        area.ui_type = "IMAGE_EDITOR"
        area.spaces.active.use_image_pin = False
    empty, pinned, other, uv = (area.spaces.active for area in areas)
    empty.image, pinned.image, other.image = None, None, reference
    pinned.use_image_pin = True
    areas[3].ui_type = "UV"
    uv.image = None
    yield {"empty": empty, "pinned": pinned, "other": other, "uv": uv}
    areas[3].ui_type = "IMAGE_EDITOR"
    for area, kind in zip(areas, kinds, strict=True):
        area.spaces.active.use_image_pin = False
        area.type = kind


def shown(spaces: dict[str, Any]) -> dict[str, str]:
    return {name: space.image.name if space.image else "" for name, space in spaces.items()}


def test_the_growing_picture_takes_no_editor_that_is_in_use_and_leaves_it_as_it_was(
    blender: Any, spaces: dict[str, Any]
) -> None:
    before = shown(spaces)
    editors.show_preview(JPEG)
    assert shown(spaces) == before | {"empty": PREVIEW}
    assert PREVIEW.startswith(".")  # no menu offers it: one that stays open until it is gone would crash Blender
    editors.show_preview(JPEG)
    editors.remove_preview()
    assert shown(spaces) == before and PREVIEW not in blender.data.images


def test_when_it_is_cancelled_an_editor_shows_again_what_it_did(blender: Any, spaces: dict[str, Any], tmp_path: Path) -> None:
    scene = blender.context.scene
    scene.camera = blender.data.objects.new("Camera", blender.data.cameras.new("Camera"))
    scene.render.engine, scene.cycles.samples, scene.render.resolution_x, scene.render.resolution_y = "CYCLES", 1, 8, 8
    blender.ops.render.render()
    spaces["other"].image = blender.data.images["Render Result"]
    path = tmp_path / "duo 0001.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    spaces["empty"].image = images.add_image(path)
    before = shown(spaces)
    editors.show_preview(JPEG)
    assert shown(spaces) == before | {"empty": PREVIEW, "other": PREVIEW}
    editors.remove_preview()
    assert shown(spaces) == before
    assert before["empty"] == "BeyondScene duo 0001" and before["other"] == "Render Result"


def test_a_finished_picture_comes_to_the_editors_that_are_free(blender: Any, spaces: dict[str, Any], tmp_path: Path) -> None:
    before = shown(spaces)
    path = tmp_path / "duo 0001.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    editors.show_preview(JPEG)
    name = editors.load_picture(path).name
    assert shown(spaces) == before | {"empty": name} and PREVIEW not in blender.data.images


def test_what_an_artist_looks_at_while_a_picture_grows_is_left_alone(
    blender: Any, spaces: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "duo 0001.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    earlier = spaces["empty"].image = images.add_image(path)
    editors.show_preview(JPEG)
    assert spaces["empty"].image.name == PREVIEW
    spaces["empty"].image = earlier
    editors.show_preview(JPEG)
    assert spaces["empty"].image == earlier
    editors.remove_preview()
    editors.show_preview(JPEG)  # of the next picture
    assert spaces["empty"].image.name == PREVIEW


def test_an_undo_takes_no_finished_picture_out_of_its_editor(blender: Any, spaces: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "duo 0001.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    editors.load_picture(path)
    before = shown(spaces)
    assert before["empty"] == "BeyondScene duo 0001"
    undo.remember_pictures()
    blender.data.images.remove(blender.data.images["BeyondScene duo 0001"])  # as an undo does
    assert not spaces["empty"].image
    undo.restore_pictures()
    assert shown(spaces) == before


def test_an_undo_brings_back_no_preview_of_a_picture_that_came(blender: Any, spaces: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "duo 0001.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    preview.show(JPEG, "")
    for edit in ("first", "second", "third"):
        blender.ops.ed.undo_push(message=edit)
    blender.ops.ed.undo()
    assert shown(spaces)["empty"] == PREVIEW  # which still grows
    name = editors.load_picture(path).name
    preview.leave()
    blender.ops.ed.undo()
    assert PREVIEW not in blender.data.images and shown(spaces)["empty"] == name
    preview.show(JPEG, "")  # of the next one
    assert shown(spaces)["empty"] == PREVIEW
    preview.leave()


def test_an_editor_shows_the_frame_of_the_scene_however_long_an_animation_is(
    blender: Any, spaces: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "duo animation 0001"
    folder.mkdir()
    for frame in (249, 250):
        cv2.imwrite(str(folder / f"{frame:04d}.png"), np.zeros((8, 8, 3), np.uint8))
    editors.load_picture(folder / "0249.png")
    assert spaces["empty"].image.source == "SEQUENCE"
    blender.context.scene.frame_set(250)
    user = spaces["empty"].image_user
    assert user.frame_current == 250 and user.use_auto_refresh


def test_an_editor_shows_a_frame_that_came_after_it_was_looked_for(
    blender: Any, spaces: dict[str, Any], tmp_path: Path
) -> None:
    frames = [tmp_path / "duo animation 0001" / f"{number:04d}.png" for number in (1, 2)]
    frames[0].parent.mkdir()
    cv2.imwrite(str(frames[0]), np.zeros((8, 8, 3), np.uint8))
    editors.load_picture(frames[0])
    window = blender.context.window_manager.windows[0]
    area = next(one for one in window.screen.areas if one.spaces.active == spaces["empty"])
    region = next(one for one in area.regions if one.type == "WINDOW")
    with blender.context.temp_override(window=window, area=area, region=region):
        blender.context.scene.frame_set(2)
        assert not blender.ops.image.save_as.poll()  # it shows nothing
        cv2.imwrite(str(frames[1]), np.full((8, 8, 3), 80, np.uint8))
        editors.load_picture(frames[1])
        assert blender.ops.image.save_as(filepath=str(tmp_path / "shown.png"), copy=True) == {"FINISHED"}
    assert (cv2.imread(str(tmp_path / "shown.png")) == 80).all()


def test_a_file_is_saved_without_the_picture_that_grows(blender: Any, spaces: dict[str, Any], tmp_path: Path) -> None:
    before, path = shown(spaces), str(tmp_path / "duo.blend")
    editors.show_preview(JPEG)
    blender.ops.wm.save_as_mainfile(filepath=path, copy=True)
    assert shown(spaces) == before and PREVIEW not in blender.data.images
    editors.show_preview(JPEG)
    assert shown(spaces) == before | {"empty": PREVIEW}
    with blender.data.libraries.load(path) as (there, _):
        assert PREVIEW not in there.images
