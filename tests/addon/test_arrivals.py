"""To which .blend a picture comes, whatever is open when it is finished."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import panels, pending_pictures, preferences, session
from beyondscene.addon.pending_pictures import Promise
from beyondscene.protocol.client import new_job_id

from .conftest import until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def shot(blender: Any, example: Example, tmp_path: Path) -> Callable[[str], Path]:
    """Saves the scene duo as that shot, and leaves it open."""

    def save(name: str) -> Path:
        example("duo")
        path = tmp_path / f"{name}.blend"
        blender.ops.wm.save_as_mainfile(filepath=str(path))
        return path

    return save


@pytest.fixture
def finishing(blender: Any, start_peer: Any, use_backend: Any, picture: bytes) -> Callable[[], None]:
    """Has the pictures that are under way finished by another backend."""

    def finish() -> None:
        session.current().stop()
        use_backend(start_peer(picture=picture).connection)
        session.current().start(preferences.get(blender.context))
        until(lambda: session.current().link.state == "ready" and not session.current().jobs)

    return finish


def test_a_picture_comes_to_its_own_file_and_waits_until_that_is_opened(
    blender: Any, shot: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path, finishing: Any
) -> None:
    shot("shot_020")
    first = shot("shot_010")
    use_backend(start_peer(hold=True).connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: any(job.running for job in session.current().jobs.values()))
    blender.ops.wm.open_mainfile(filepath=str(tmp_path / "shot_020.blend"))
    finishing()
    assert (tmp_path / "renders" / "shot_010 0001.png").read_bytes() == picture
    assert not blender.data.images and not session.current().error
    assert "A picture of shot_010.blend has come" in drawn(panels.BEYONDSCENE_PT_main)
    (pending_pictures.folder() / new_job_id()).write_text('{"picture": "ä"}', "latin-1")  # damaged: it stops nothing
    assert not pending_pictures.pending()  # nothing to ask a backend for
    blender.ops.wm.open_mainfile(filepath=str(first))
    assert blender.data.images.keys() == ["BeyondScene shot_010 0001"]
    assert "has come" not in drawn(panels.BEYONDSCENE_PT_main)
    blender.ops.wm.open_mainfile(filepath=str(first))
    assert not blender.data.images  # it was not saved with it, and is not brought twice


@pytest.mark.skipif(sys.platform != "linux", reason="the system has no paths that are too long for Blender")
def test_each_picture_that_waited_comes_whatever_became_of_the_others(
    blender: Any, shot: Any, picture: bytes, tmp_path: Path
) -> None:
    blend, (unreadable, away, good) = shot("shot_010"), [new_job_id() for _ in range(3)]
    # Blender reads 1023 bytes of a path: these end within a name, not at the end of one, where there is a folder to be opened
    deep = tmp_path.joinpath(*["longer than a path that Blender reads".ljust(255, ".")] * 4)
    deep.mkdir(parents=True)
    files = {unreadable: deep / "picture.png", away: tmp_path / "away.png", good: tmp_path / "good.png"}
    for job_id, file in files.items():
        pending_pictures.remember(job_id, Promise(picture=str(file), blend=str(blend), here=True))
    files[unreadable].write_bytes(picture)
    files[good].write_bytes(picture)
    blender.ops.wm.open_mainfile(filepath=str(blend))
    assert blender.data.images.keys() == ["BeyondScene good"]
    assert list(pending_pictures.promises()) == [away]
    files[away].write_bytes(picture)  # its drive is there again
    blender.ops.wm.open_mainfile(filepath=str(blend))
    assert "BeyondScene away" in blender.data.images and not pending_pictures.promises()


def test_a_picture_follows_a_file_that_is_saved_under_another_name(
    blender: Any, shot: Any, start_peer: Any, use_backend: Any, tmp_path: Path, finishing: Any
) -> None:
    shot("shot_v01")
    use_backend(start_peer(hold=True).connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: any(job.running for job in session.current().jobs.values()))
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "copy.blend"), copy=True)
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot_v02.blend"))
    (promise,) = pending_pictures.pending().values()
    assert promise.blend == str(tmp_path / "shot_v02.blend")
    finishing()
    assert blender.data.images.keys() == ["BeyondScene shot_v01 0001"] and session.current().missed is None


def test_a_promise_outlasts_a_full_disk_and_other_files_are_none(blender: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, later, empty = (new_job_id() for _ in range(3))
    promise = Promise(picture="/renders/b.png", blend="/shots/b.blend")
    pending_pictures.write(ours, promise)
    (pending_pictures.folder() / later).write_text('{"format": 2, "picture": "/renders/c.png"}')
    (pending_pictures.folder() / empty).touch()
    (pending_pictures.folder() / ".DS_Store").write_bytes(b"\x00\xff")

    def fill(path: Path, data: bytes) -> None:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        pending_pictures.miss(ours)
    assert pending_pictures.pending() == {ours: promise}
