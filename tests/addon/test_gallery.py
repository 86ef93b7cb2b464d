"""The gallery of finished pictures, their thumbnails, and the picture that grows."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import editors, history, images, panels, preview, session, thumbnails

from .conftest import chosen, until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


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


def test_a_thumbnail_comes_though_another_file_was_opened_before_its_turn(made: Any, tmp_path: Path) -> None:
    import cv2

    picture = tmp_path / "duo 0001.png"
    thumbnails.keep(picture, cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    thumbnails.forget(str(picture))  # as in a Blender that was started again
    assert thumbnails.icon_of(picture) == 0
    made.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)  # by which Blender ends timers
    assert thumbnails.icon_of(picture) == 0 and made.app.timers.is_registered(thumbnails.draw_wanted)
    thumbnails.draw_wanted()
    assert thumbnails.icons is not None and str(picture) in thumbnails.icons


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
