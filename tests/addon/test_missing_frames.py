"""Frames that an animation lacks, and which files are its frames."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import animation, editors, images, panels, pending_pictures, preferences, session
from beyondscene.addon.frozen_settings import FrozenSettings
from beyondscene.protocol import Submit
from beyondscene.protocol.client import new_job_id
from beyondscene.protocol.record import RecordError

from .conftest import SETTINGS, chosen, until
from .drawing import drawn


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
