"""Finished pictures: found again, and the way back to their settings, or to the same picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import editors, history, images, panels, pending_pictures, preferences, quality, session
from beyondscene.addon.destinations import DESTINATIONS
from beyondscene.backend.outputs import Picture, write_picture
from beyondscene.protocol import ArrayRef, Submit, request_from_json
from beyondscene.protocol.client import new_job_id
from beyondscene.protocol.record import read_record
from msgspec.structs import replace

from .conftest import SETTINGS, chosen, until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


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
    assert made.ops.beyondscene.render_again(wait=True) == {"FINISHED"}
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
    assert made.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    editor = made.context.scene.sequence_editor
    (strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences
    assert (Path(made.path.abspath(strip.directory)) / strip.elements[0].filename).samefile(tmp_path / "duo 0001.png")
    (tmp_path / "shots" / "duo 0001.png").write_bytes((tmp_path / "duo 0001.png").read_bytes())
    own = editors.load_picture(tmp_path / "shots" / "duo 0001.png")
    assert [one.name for one in images.finished_pictures()] == [own.name] * 2
    history.set_number(None, 1)
    assert chosen().library and history.get_number(None) == 1  # though a picture of this file has the name as well


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
    with pytest.raises(RuntimeError, match=r"The mask of 'Eve' has 600000000 bytes"):
        made.ops.beyondscene.render_again()
    write_picture(path, Picture(np.zeros((64, 96, 3), np.uint8)), replace(record, request=msgspec.Raw(b'{"format": 9}')))
    with pytest.raises(RuntimeError, match=r"duo 0001\.png cannot be repeated \(a render request of format 9.*choose another"):
        made.ops.beyondscene.restore_settings()


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
