"""The add-on and a scripted backend over a real socket: pictures, refusals, cancelling, and nobody there."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import images, operators, panels, pending_pictures, preferences, presence, session, undo
from beyondscene.addon.backend_process import BackendProcess
from beyondscene.addon.preferences import Preferences
from beyondscene.protocol import Cancel, Fetch, Submit, Subscribe, client
from beyondscene.protocol.client import new_job_id

from .conftest import until
from .drawing import drawn
from .test_sight import add_box, in_front_of

Example = Callable[[str], dict[str, Any]]


def test_a_picture_comes_back_as_a_file_and_an_image_datablock(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    for number in ("0001", "0002"):
        assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
        path = tmp_path / "renders" / f"duo {number}.png"
        assert path.read_bytes() == picture
        image = blender.data.images[f"BeyondScene duo {number}"]
        assert tuple(image.size) == (1024, 1024)
        assert image.colorspace_settings.name == "sRGB"
        assert image.use_fake_user
    undo.remember_pictures()
    blender.data.images.remove(blender.data.images["BeyondScene duo 0001"])  # as an undo does
    undo.restore_pictures()
    assert tuple(blender.data.images["BeyondScene duo 0001"].size) == (1024, 1024)
    assert len(blender.data.images) == 2
    assert not list(tmp_path.glob("renders/*.part"))
    assert session.current().job is None
    fetched = [one for one in peer.heard if isinstance(one, Fetch)]
    assert len(fetched) == 2
    assert peer.most_ahead <= 8
    submitted = next(one for one in peer.heard if isinstance(one, Submit))
    assert [one.name for one in submitted.request.characters] == ["Eve", "Flo"]
    assert [one.mask for one in submitted.request.characters] == list(submitted.arrays)  # each mask came along
    assert "BeyondScene duo 0002" in drawn(panels.BEYONDSCENE_PT_main)
    example("plaza")
    assert "BeyondScene duo 0002" not in drawn(panels.BEYONDSCENE_PT_main)


def test_whoever_is_not_in_the_picture_is_named_beside_it(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    add_box(blender, "Wall", (5, 0.1, 5), in_front_of(blender, "Eve"))
    use_backend(start_peer(picture=picture, remarks=("'Flo' is not in the picture.",)).connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    told = drawn(panels.BEYONDSCENE_PT_main)
    assert "'Eve' is left out of the picture, for others or the set hide all of this person: move" in told
    assert "'Flo' is not in the picture." in told
    session.current().picture = images.PictureRef.of(blender.data.images["BeyondScene duo 0001"])  # chosen from the gallery
    assert "'Flo'" not in drawn(panels.BEYONDSCENE_PT_main)


def test_a_file_that_another_machine_has_put_there_meanwhile_is_kept(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_peer(hold=True).connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: any(job.running for job in session.current().jobs.values()))
    session.current().stop()
    for name in ("duo 0001.png", "duo 0001 (2).png"):
        (tmp_path / "renders" / name).write_bytes(b"of another machine")
    use_backend(start_peer(picture=picture).connection)
    session.current().start(preferences.get(blender.context))
    until(lambda: session.current().link.state == "ready" and not session.current().jobs)
    assert (tmp_path / "renders" / "duo 0001.png").read_bytes() == b"of another machine"
    assert (tmp_path / "renders" / "duo 0001 (2).png").read_bytes() == b"of another machine"
    assert (tmp_path / "renders" / "duo 0001 (3).png").read_bytes() == picture
    assert blender.data.images.keys() == ["BeyondScene duo 0001 (3)"]
    assert len(list((tmp_path / "renders").iterdir())) == 3


def test_damage_on_the_way_is_noticed_and_leaves_no_file(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_peer(picture=picture, damage=True).connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    with pytest.raises(RuntimeError, match="damaged on the way"):
        blender.ops.beyondscene.render(wait=True)
    assert not list((tmp_path / "renders").iterdir())
    assert not blender.data.images


def test_a_full_disk_is_said_and_the_picture_comes_once_there_is_room(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    example("duo")
    use_backend(start_peer(picture=picture).connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))  # no file may be larger: the third of its pieces fails
    try:
        with pytest.raises(RuntimeError, match=r"cannot be written to .*renders \(.*\): make room there"):
            blender.ops.beyondscene.render(wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "renders").iterdir()) and not blender.data.images
    state = session.current()
    state.stop()
    assert state.left_over == 1
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert (tmp_path / "renders" / "duo 0001.png").read_bytes() == picture


def test_cancel_ends_the_job_and_the_next_one_can_start(
    blender: Any, example: Example, start_peer: Any, use_backend: Any
) -> None:
    example("duo")
    peer = start_peer(hold=True)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    job = session.current().job
    assert job
    until(lambda: job.fraction == 0.5)
    assert job.status == "Enlarging, level 1/2"
    peer.full = True
    assert blender.ops.beyondscene.cancel() == {"FINISHED"}
    until(lambda: job.status == "The disk is full.")
    assert session.current().job is job
    peer.full = False
    assert not blender.ops.beyondscene.cancel.poll()
    until(lambda: session.current().job is None)
    assert any(isinstance(one, Cancel) for one in peer.heard)
    assert not session.current().error
    assert blender.ops.beyondscene.render.poll()


def test_an_interrupt_while_a_script_waits_cancels_the_picture_and_is_one_sentence(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    example("duo")
    peer = start_peer(hold=True)
    use_backend(peer.connection)

    def interrupt_once_it_runs(seconds: float) -> None:
        job = session.current().job
        if job and job.running and not job.cancelling:
            raise KeyboardInterrupt

    monkeypatch.setattr(operators, "time", SimpleNamespace(sleep=interrupt_once_it_runs, monotonic=time.monotonic))
    with pytest.raises(RuntimeError, match=r"^Error: Interrupted: the picture was cancelled\.$"):
        blender.ops.beyondscene.render(wait=True)
    assert any(isinstance(one, Cancel) for one in peer.heard) and not session.current().jobs
    assert "KeyboardInterrupt" not in "".join(capfd.readouterr())


def test_a_picture_is_rendered_where_the_context_has_no_window_as_in_a_timer(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_peer(picture=picture).connection)
    own = blender.context.scene.beyondscene
    own.output_folder, own.lock_seed, own.seed = str(tmp_path), False, 0
    with blender.context.temp_override(window=None):
        assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    assert own.seed and (tmp_path / "duo 0001.png").read_bytes() == picture


def test_pictures_wait_in_line_and_each_can_be_cancelled(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    own, state = blender.context.scene.beyondscene, session.current()
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path / "renders"), "CUSTOM", 999
    own.use_own_size, own.width, own.height = True, 64, 64
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.fraction > 0)
    own.seed, own.knobs.steps = 8, 1
    for _ in range(2):
        assert blender.ops.beyondscene.render() == {"FINISHED"}
    first, second, third = state.jobs.values()
    assert [job.path.stem for job in state.jobs.values()] == ["duo 0001", "duo 0002", "duo 0003"]
    until(lambda: third.status.startswith("Waiting for 2"))
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert "Render Picture" in shown and "duo 0001" in shown and "Enlarging" in shown
    assert "2 wait\nduo 0002\nCancel\nduo 0003\nCancel\nCancel All" in shown
    assert blender.ops.beyondscene.cancel(job_id=second.id) == {"FINISHED"}
    until(lambda: second.id not in state.jobs)
    assert first.running and not first.cancelling and "1 waits" in drawn(panels.BEYONDSCENE_PT_main)
    assert blender.ops.beyondscene.cancel(job_id=first.id) == {"FINISHED"}
    until(lambda: not state.jobs)
    assert [path.name for path in (tmp_path / "renders").iterdir()] == ["duo 0003.png"] and not state.error


def test_a_picture_under_way_when_blender_closes_comes_to_the_next_one(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(hold=True)
    use_backend(peer.connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    job = session.current().job
    assert job
    until(lambda: job.fraction == 0.5)
    session.current().stop()
    (promise,) = pending_pictures.pending().values()
    assert promise.path == tmp_path / "renders" / "duo 0001.png" and images.is_open(promise.blend)

    use_backend(start_peer(picture=picture).connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}  # asked for before the backend tells of the other one
    until(lambda: not session.current().jobs)
    assert {"BeyondScene duo 0001", "BeyondScene duo 0002"} <= set(blender.data.images.keys())
    assert (tmp_path / "renders" / "duo 0001.png").read_bytes() == picture
    assert (tmp_path / "renders" / "duo 0002.png").read_bytes() == picture
    assert not pending_pictures.pending() and not session.current().error


@contextmanager
def another_blender() -> Iterator[str]:
    """Another process that is present under the name that this gives."""
    program = """
import sys
from beyondscene.protocol.locks import lock
file = open(sys.argv[1], "xb")
print(lock(file), flush=True)
input()
"""
    name = new_job_id()
    presence.folder().mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", program, str(presence.folder() / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"True\n"
        yield name
        other.kill()


def test_the_pictures_of_another_blender_that_runs_are_left_to_it(
    blender: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    job_id, state = new_job_id(), session.current()
    (tmp_path / "renders").mkdir()
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    with another_blender() as name:
        promise = pending_pictures.Promise(picture=str(tmp_path / "renders" / "shot 0001.png"), blender=name)
        pending_pictures.write(job_id, promise)
        state.start(preferences.get(blender.context))
        until(lambda: state.link.state == "ready")
        assert not state.jobs and state.promised == [tmp_path / "renders" / "shot 0001.png"]  # whose name is taken
        state.cancel()
        state.stop()
        assert state.left_over == 0
    assert not any(isinstance(one, Cancel | Subscribe) for one in peer.heard)
    state.stop()
    assert state.left_over == 1  # now that it has crashed
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert (tmp_path / "renders" / "shot 0001.png").read_bytes() == picture


def test_a_second_blender_has_a_backend_of_its_own(blender: Any) -> None:
    backends = [BackendProcess(preferences.default_python()) for _ in range(2)]
    try:
        until(lambda: all(backend.poll() for backend in backends), timeout_s=60)
        endpoints = {connection.endpoint for backend in backends if (connection := backend.poll())}
        assert len(endpoints) == 2
        processes = [backend._process.pid for backend in backends]
        assert list(map(os.getsid, processes)) == processes  # so that Ctrl-C does not reach them
        (folder,) = [backend.own_data for backend in backends if backend.own_data]
        assert list(folder.iterdir())
    finally:
        for backend in backends:
            backend.stop(keep_log=backend.own_data is not None)
    assert [backend.folder.exists() for backend in backends] == [backend.own_data is not None for backend in backends]
    (left,) = folder.parent.iterdir()
    assert left.name == "backend.log" and not left.unlink() and not left.parent.rmdir()


def test_what_was_under_way_at_the_backend_of_a_second_blender_is_not_looked_for_later(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="no backend without it takes a job")
    example("duo")
    earlier, state = new_job_id(), session.current()
    pending_pictures.remember(earlier, pending_pictures.Promise(picture=str(tmp_path / "earlier.png")))
    first = BackendProcess(preferences.default_python())
    try:
        until(first.poll)
        own, python = blender.context.scene.beyondscene, preferences.default_python()
        own.output_folder, own.use_own_size, own.width, own.height = str(tmp_path), True, 64, 64
        monkeypatch.setattr(preferences, "get", lambda context: Preferences(python, None, ""))
        assert blender.ops.beyondscene.render() == {"FINISHED"}
        until(lambda: state.job and state.job.sent)
        assert not state.link.lasting and len(state.jobs) == 1
        state.stop()
    finally:
        first.stop()
    assert list(pending_pictures.pending()) == [earlier] and state.left_over == 1  # as it was, for the backend that lasts


def test_what_the_backend_of_a_second_blender_had_taken_is_made_by_the_next_one(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    pytest.importorskip("torch", reason="no backend without it takes a job")
    example("duo")
    state, first = session.current(), BackendProcess(preferences.default_python())
    own, python = blender.context.scene.beyondscene, preferences.default_python()
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 999
    try:
        until(first.poll)
        with monkeypatch.context() as local:
            local.setattr(preferences, "get", lambda context: Preferences(python, None, ""))
            for _ in range(2):
                assert blender.ops.beyondscene.render() == {"FINISHED"}
            until(lambda: len(state.jobs) == 2 and all(job.accepted for job in state.jobs.values()))
        assert "This is a second Blender: its backend keeps nothing" in drawn(panels.BEYONDSCENE_PT_main)
        assert blender.ops.beyondscene.stop_backend() == {"FINISHED"}
    finally:
        first.stop()
    assert "second Blender" not in drawn(panels.BEYONDSCENE_PT_main)
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert "duo 0001" in shown and "Waiting for the backend" in shown and "1 waits" in shown
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert [(tmp_path / f"duo 000{number}.png").read_bytes() == picture for number in (1, 2)] == [True, True]
    assert all(len(one.arrays) == 2 for one in peer.heard if isinstance(one, Submit))  # the masks were kept as well


def test_an_earlier_picture_that_no_backend_knows_is_forgotten_after_a_month(
    blender: Any, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    use_backend(gateway.connection())
    month_ago, state = int((time.time() - 31 * 24 * 3600) * 1000), session.current()
    old, new = str(UUID(int=month_ago << 80 | 7 << 76 | 2 << 62)), new_job_id()
    for job_id in (old, new):
        pending_pictures.remember(job_id, pending_pictures.Promise(picture=str(tmp_path / "shot.png")))
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert list(pending_pictures.pending()) == [new] and not state.error
    assert pending_pictures.promises()[new].blender is None  # another Blender may use the backend that knows it


@pytest.mark.parametrize(("versions", "older"), [((2, 3), "this add-on or program"), ((0, 0), "the backend")])
def test_another_protocol_version_says_which_side_to_update(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, versions: tuple[int, int], older: str
) -> None:
    example("duo")
    use_backend(start_peer(versions=versions).connection)
    with pytest.raises(RuntimeError, match=f"but version 1 is spoken here: update {older}"):
        blender.ops.beyondscene.render(wait=True)
    assert session.current().link.state == "off"


def test_no_connection_file_and_nobody_listening_are_said(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    use_backend(None)
    with pytest.raises(RuntimeError, match="No backend can be found through the key file"):
        blender.ops.beyondscene.render(wait=True)
    monkeypatch.setattr(client, "GREETING_S", 0.3)
    peer = start_peer()
    peer.close()
    use_backend(peer.connection)
    with pytest.raises(RuntimeError, match="No backend answers at tcp"):
        blender.ops.beyondscene.render(wait=True)
    assert not session.current().jobs  # a script asks again by itself


def test_a_wrong_key_is_not_answered(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    monkeypatch.setattr(client, "GREETING_S", 0.3)
    connection = start_peer().connection
    use_backend(msgspec.structs.replace(connection, server_public_key=start_peer().connection.server_public_key))
    with pytest.raises(RuntimeError, match="see that this connection file"):
        blender.ops.beyondscene.render(wait=True)


def test_a_python_that_has_no_backend_is_named_with_its_last_words(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    logs: list[Path] = []
    monkeypatch.setattr(preferences, "get", lambda context: Preferences("/nowhere/python", None, ""))
    with pytest.raises(RuntimeError, match="Python '/nowhere/python' cannot be run"):
        blender.ops.beyondscene.render(wait=True)
    monkeypatch.setattr(preferences, "get", lambda context: Preferences("/usr/bin/false", None, ""))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended as it started, saying 'nothing'"):
            blender.ops.beyondscene.render(wait=True)
        logs.append(Path(session.current().link.log))
    assert [log.parent.exists() for log in logs] == [False, True]  # of an error that is still told
    monkeypatch.setattr(preferences, "get", lambda context: Preferences("", None, ""))
    with pytest.raises(RuntimeError, match="No Python for the backend is chosen"):
        blender.ops.beyondscene.render(wait=True)


def test_a_backend_that_refuses_to_start_is_not_said_to_lack_its_package(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example("duo")
    (tmp_path / "python").write_text("#!/bin/sh\necho 'beyondscene: Leave that folder out.' >&2\nexit 2\n")
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(preferences, "get", lambda context: Preferences(str(tmp_path / "python"), None, ""))
    with pytest.raises(RuntimeError, match=r"saying 'beyondscene: Leave that folder out\.': its log is"):
        blender.ops.beyondscene.render(wait=True)


def test_the_last_words_of_a_backend_are_told_as_it_said_them(
    blender: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On Windows its log would be in the country's encoding, but Blender reads files as UTF-8."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp932")
    program = "import sys; sys.exit('広場がありません')"
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n', "utf-8")
    (tmp_path / "python").chmod(0o700)
    backend = BackendProcess(str(tmp_path / "python"))
    until(lambda: backend.ended)
    assert backend.last_words() == "広場がありません"
    backend.stop()


def test_nothing_is_sent_for_a_scene_that_cannot_become_a_picture(
    blender: Any, example: Example, start_peer: Any, use_backend: Any
) -> None:
    example("duo")
    peer = start_peer()
    use_backend(peer.connection)
    blender.data.objects["Eve"].beyondscene.prompt = ""
    with pytest.raises(RuntimeError, match="prompt of 'Eve' is empty"):
        blender.ops.beyondscene.render(wait=True)
    assert session.current().link.state == "off"
    assert not peer.heard
    assert not blender.ops.beyondscene.render.poll() and "prompt of 'Eve' is empty" in drawn(panels.BEYONDSCENE_PT_main)
    blender.data.objects["Eve"].location.x += 50
    blender.context.view_layer.update()
    assert blender.ops.beyondscene.render.poll()  # nobody need describe who is not in the picture
    blender.context.scene.beyondscene.prompt = " "
    assert "The scene prompt is empty" in drawn(panels.BEYONDSCENE_PT_main) and not blender.ops.beyondscene.render.poll()
    example("duo")
    for leave in (blender.ops.beyondscene.dismiss_error, lambda: example("duo")):
        blender.data.objects["Eve"].beyondscene.prompt = "a woman" * 2000
        with pytest.raises(RuntimeError, match="The prompt of 'Eve' cannot be sent"):
            blender.ops.beyondscene.render(wait=True)
        assert not peer.heard and "The prompt of 'Eve' cannot be sent" in drawn(panels.BEYONDSCENE_PT_main)
        leave()
        assert "cannot be sent" not in drawn(panels.BEYONDSCENE_PT_main)
    blender.context.scene.beyondscene.models = ""
    assert operators.why_not(blender.context) == "No models are chosen: name a model set under Picture, e.g. embedded"
    assert not blender.ops.beyondscene.render.poll() and not blender.ops.beyondscene.render_animation.poll()
    blender.context.scene.beyondscene.models = "embedded"
    blender.context.scene.camera = None
    with pytest.raises(RuntimeError, match="has no camera"):
        blender.ops.beyondscene.render(wait=True)
