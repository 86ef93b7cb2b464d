"""A range of frames while other things happen: Blender's own render, a backend that goes."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import (
    animation,
    blender_render,
    diagnostics,
    link,
    operators,
    panels,
    pending_pictures,
    planner,
    preferences,
    send_queue,
    session,
    ticker,
    unkeyed_changes,
)
from beyondscene.protocol import Accepted, Cancel, JobsListed, ListJobs, Refused, Started, Submit, client

from ..backend.serving.talk import Talk
from ..backend.serving.talk import picture as work
from .conftest import until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def duo(blender: Any, example: Example, tmp_path: Path) -> Any:
    """The scene duo with three frames, whose pictures go to `tmp_path`."""
    example("duo")
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    return scene


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_while_blender_renders_no_frame_is_exported_and_the_scene_is_left_alone(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, picture: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_backend(start_peer(picture=picture).connection)
    with monkeypatch.context() as rendering:
        rendering.setattr(blender_render, "is_running", lambda: True)
        assert not blender.ops.beyondscene.render_animation.poll()
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    shown: list[int] = []
    blender.app.handlers.frame_change_post.append(note := lambda scene, _: shown.append(scene.frame_current))
    with monkeypatch.context() as rendering:
        rendering.setattr(blender_render, "is_running", lambda: True)
        assert animation.turn() is not None and not shown
    blender.app.handlers.frame_change_post.remove(note)
    while animation.turn() is not None:
        pass
    until(lambda: not session.current().jobs)
    assert names_in(tmp_path / "duo animation 0001") == ["0001.png", "0002.png", "0003.png"]


def test_while_a_rig_is_edited_no_frame_is_exported_in_its_rest_pose(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    use_backend(start_peer(picture=picture).connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    now = animation.recording()
    assert now and now.frames == [2, 3]
    blender.context.view_layer.objects.active = blender.data.objects["Eve"]
    blender.ops.object.mode_set(mode="EDIT")
    assert animation.turn() is not None and now.frames == [2, 3]
    assert "'Eve' is in Edit Mode" in drawn(panels.BEYONDSCENE_PT_main)
    blender.ops.object.mode_set(mode="OBJECT")
    while animation.turn() is not None:
        pass
    until(lambda: not session.current().jobs)
    assert names_in(tmp_path / "duo animation 0001") == ["0001.png", "0002.png", "0003.png"]


def test_what_the_artist_changes_meanwhile_is_for_the_next_picture_and_not_for_the_frames_that_are_left(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, picture: bytes
) -> None:
    peer, own, eve, flo = start_peer(picture=picture), duo.beyondscene, *(blender.data.objects[name] for name in ("Eve", "Flo"))
    use_backend(peer.connection)
    own.prompt, own.seed, own.quality = "a quay", 7, "CUSTOM"
    own.loras.add().name = "ink"
    flo.location.x += 50  # she comes in later
    flo.keyframe_insert("location", frame=1)
    flo.location.x -= 50
    flo.keyframe_insert("location", frame=2)
    said = eve.beyondscene.prompt, flo.beyondscene.prompt
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    own.prompt, own.negative_prompt, own.style = "a desert", "rain", "ink"
    own.lock_seed, own.models = False, "other"
    own.use_own_size, own.width, own.height, own.knobs.steps = True, 64, 128, 3
    own.loras[0].scale = 0.5
    eve.beyondscene.prompt, eve.beyondscene.parts.hair, flo.beyondscene.prompt = "a bear", "red hair", ""
    with pytest.raises(RuntimeError, match="The prompt of 'Flo' is empty"):
        blender.ops.beyondscene.render()
    flo.beyondscene.prompt = "a fox"
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    flo.beyondscene.prompt = ""
    eve.location.x += 0.2  # a pose is as it is when its frame is exported
    while animation.turn() is not None:
        pass
    until(lambda: not session.current().jobs)
    first, other, *rest = [one for one in peer.heard if isinstance(one, Submit)]
    assert (other.request.prompt, other.request.style, other.request.width, other.models) == ("a desert", "ink", 64, "other")
    assert own.seed != 7 and own.prompt == "a desert" and not session.current().error
    assert len(rest) == 2
    for one in (first, *rest):
        asked = one.request
        assert (asked.prompt, asked.negative_prompt, asked.style) == ("a quay", "", "")
        assert (asked.seed, one.models) == (7, "embedded")
        assert (asked.width, asked.height, asked.settings) == (1024, 1024, first.request.settings)
        assert [(lora.name, lora.scale) for lora in asked.loras] == [("ink", 1)]
        assert {who.name: who.prompt for who in asked.characters}.items() <= dict(
            zip(("Eve", "Flo"), said, strict=True)
        ).items()
        assert not any(who.part_prompts for who in asked.characters)
    assert [[who.name for who in one.request.characters] for one in (first, *rest)] == [["Eve"], ["Eve", "Flo"], ["Eve", "Flo"]]
    before, after = (one.request.characters[0].keypoints[0].x for one in (first, rest[0]))
    assert after > before + 10


def test_no_frame_is_exported_of_another_view_layer_than_the_one_that_was_begun_with(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, picture: bytes
) -> None:
    use_backend(start_peer(picture=picture).connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    duo.view_layers[0].name = "People"  # the only one that it could be
    assert animation.turn() is not None
    duo.view_layers.new("Other")
    assert animation.turn() is None
    assert "its view layer 'ViewLayer' is renamed or gone" in session.current().error


def test_what_is_selected_stays_so_though_it_is_hidden_at_a_frame_that_is_exported(blender: Any, duo: Any) -> None:
    eve = blender.data.objects["Eve"]
    for frame, hidden in ((3, True), (1, False)):
        eve.hide_viewport = hidden
        eve.keyframe_insert("hide_viewport", frame=frame)
    duo.frame_set(1)
    eve.select_set(True)
    with animation.at_frame(duo, 3):
        assert not eve.select_get()
    assert blender.context.selected_objects == [eve]


def test_what_is_not_keyed_stays_where_strips_of_a_meta_strip_move_it(blender: Any, duo: Any) -> None:
    eve, window = blender.data.objects["Eve"], blender.context.window_manager.windows[0]
    blender.context.view_layer.objects.active = eve
    eve.keyframe_insert("location", frame=1)
    animation_data = eve.animation_data
    track = animation_data.nla_tracks.new()
    track.strips.new("Walk", 1, animation_data.action)
    animation_data.action = None
    area = window.screen.areas[0]
    area.type = "NLA_EDITOR"
    region = next(one for one in area.regions if one.type == "WINDOW")
    with blender.context.temp_override(window=window, area=area, region=region):
        assert blender.ops.nla.meta_add() == {"FINISHED"}
    eve.location.x = 7
    with unkeyed_changes.kept(), animation.at_frame(duo, 3):
        assert eve.location.x != 7
    assert eve.location.x == 7


def test_an_export_leaves_blender_as_much_time_as_it_takes(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_backend(start_peer(picture=picture).connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    export = animation.step
    monkeypatch.setattr(animation, "step", lambda: time.sleep(0.3) or export())
    pause_s = animation.turn()
    assert pause_s is not None and pause_s >= 0.3
    monkeypatch.setattr(animation, "step", lambda: True)
    assert animation.turn() == pytest.approx(animation.TURN_S, abs=0.04)


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("nobody expected this")


def test_a_fault_while_frames_are_exported_is_said_and_the_next_animation_can_begin(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, picture: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_backend(start_peer(picture=picture).connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    with monkeypatch.context() as faulty:
        faulty.setattr(animation, "export_frame", broken)
        assert animation.turn() is None and not animation.recording()
    assert "The export of frame 2 failed by a fault of BeyondScene (ZeroDivisionError" in drawn(panels.BEYONDSCENE_PT_main)
    assert "in export_next" in diagnostics.describe(blender.context)
    until(lambda: not session.current().jobs)
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    assert names_in(tmp_path / "duo animation 0002") == ["0001.png", "0002.png", "0003.png"]


def test_a_fault_leaves_the_timers_that_hear_the_backend_and_ask_for_estimates_running(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_backend(start_peer().connection)
    state = session.current()
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready")
    for module, name, timer in ((state, "tick", ticker.drain), (planner, "gather_request", planner.watch)):
        with monkeypatch.context() as faulty:
            faulty.setattr(module, name, broken)
            assert timer()
        assert "failed by a fault of BeyondScene (ZeroDivisionError: nobody expected this)" in state.error
        state.problem = None
        assert timer() and not state.error


def test_while_blender_renders_nobody_asks_what_a_picture_would_take(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_backend(start_peer().connection)
    session.current().start(preferences.get(blender.context))
    until(lambda: session.current().link.state == "ready")
    looks: list[object] = []
    monkeypatch.setattr(planner, "look", looks.append)
    with monkeypatch.context() as rendering:
        rendering.setattr(blender_render, "is_running", lambda: True)
        planner.watch()
    assert not looks
    planner.watch()
    assert looks


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Has that backend fall silent, or what `fall` stops, until the add-on notices; it is tried again every 0.3 s."""
    monkeypatch.setattr(client, "GREETING_S", 0.3)
    monkeypatch.setattr(link, "AGAIN_S", 0.3)

    def lose_it(fall: Callable[[], object]) -> None:
        fall()
        with monkeypatch.context() as impatient:
            impatient.setattr(client, "SILENCE_S", 0.3)
            until(lambda: session.current().link.state in ("lost", "off"))

    return lose_it


def test_an_animation_waits_for_a_backend_that_was_lost_and_lacks_no_frame_in_the_end(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any, picture: bytes, tmp_path: Path
) -> None:
    state, peer = session.current(), start_peer(hold=True, waiting_jobs=1)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    until(lambda: state.job and state.job.running)
    assert animation.turn() is not None
    lose(peer.close)
    assert state.link.state == "lost" and not state.error
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert "Connection lost, trying again" in shown and "fell silent. What it has goes on there" in shown
    while animation.turn() is not None:
        pass
    assert [job.path.name for job in state.jobs.values()] == ["0001.png", "0002.png", "0003.png"]
    until(lambda: "No backend answers" in state.link.lost)  # it was tried again
    assert "Connection lost, trying again" in drawn(panels.BEYONDSCENE_PT_main)
    assert f"Connection: {state.link.lost}" in diagnostics.describe(blender.context)
    use_backend(start_peer(picture=picture).connection)
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert "trying again" not in drawn(panels.BEYONDSCENE_PT_main)
    assert names_in(tmp_path / "duo animation 0001") == ["0001.png", "0002.png", "0003.png"] and not state.error


def test_a_backend_that_comes_back_without_its_pictures_is_said_and_the_others_become_the_sequence(
    blender: Any, duo: Any, gateway: Any, start_peer: Any, use_backend: Any, lose: Any, picture: bytes, tmp_path: Path
) -> None:
    state, peer = session.current(), start_peer(hold=True)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    while animation.turn() is not None:
        pass
    until(lambda: len(state.jobs) == 3 and all(job.accepted for job in state.jobs.values()))
    (tmp_path / "duo animation 0001" / "0001.png").write_bytes(picture)  # which had come
    lose(peer.close)
    use_backend(gateway.connection())  # without its ledger
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert "duo animation 0001, frame 3: The backend knows no job" in drawn(panels.BEYONDSCENE_PT_main)
    assert blender.data.images.keys() == ["BeyondScene duo animation 0001"]
    assert [one.blender for one in pending_pictures.promises().values()] == [None] * 3  # whoever uses the backend that has them


def test_a_script_learns_that_a_picture_was_lost_in_a_gap(
    blender: Any, duo: Any, gateway: Any, start_peer: Any, use_backend: Any, lose: Any
) -> None:
    state, peer = session.current(), start_peer(hold=True)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    lose(peer.close)
    use_backend(gateway.connection())
    operators.wait_for_picture()
    assert state.error.startswith("The backend knows no job")


def test_a_script_does_not_wait_for_ever_in_a_gap_and_says_what_for(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    state, peer = session.current(), start_peer(hold=True, waiting_jobs=1)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"} and blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    lose(peer.close)
    monkeypatch.setattr(operators, "PATIENCE_S", 1.5)
    operators.wait_for_picture()
    assert "No backend answers" in state.error and "A script waits no longer than 2 s" in state.error
    assert state.link.state == "off" and not state.jobs and state.left_over == 1  # which comes once the backend is back
    assert "fell silent." in capfd.readouterr().out


def test_a_script_does_not_wait_for_ever_for_a_backend_that_takes_nothing(
    blender: Any,
    duo: Any,
    start_peer: Any,
    use_backend: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    use_backend(start_peer(full=True).connection)
    monkeypatch.setattr(send_queue, "LATER_S", 0.3)
    monkeypatch.setattr(operators, "PATIENCE_S", 1.0)
    with pytest.raises(RuntimeError, match=r"100 jobs are waiting\. A script waits no longer than 1 s for that to change"):
        blender.ops.beyondscene.render(wait=True)
    assert not session.current().jobs and capfd.readouterr().out.count("100 jobs are waiting") == 2  # once, and as the error
    assert not pending_pictures.pending()


def test_blender_goes_on_while_the_key_file_is_on_a_drive_that_does_not_answer(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, peer, answers, find = session.current(), start_peer(hold=True), threading.Event(), link.find_backend
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    lose(peer.close)
    monkeypatch.setattr(link, "find_backend", lambda *key, **how: answers.wait(20) and find(*key, **how))
    (tmp_path / "connection.json").unlink()
    until(lambda: state.link.state == "connecting")
    began_s = time.monotonic()
    for _ in range(5):
        state.tick()
    assert time.monotonic() - began_s < 2 and state.link.state == "connecting"
    answers.set()
    until(lambda: "No backend can be found through the key file" in state.link.lost)
    assert state.link.alive
    state.jobs.clear()
    until(lambda: not state.link.alive)  # nothing is to come
    assert "No backend can be found through the key file" in state.error


def test_the_trying_can_be_stopped_and_what_the_backend_lacks_waits(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any
) -> None:
    state, peer = session.current(), start_peer(hold=True, waiting_jobs=1)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"} and blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    lose(peer.close)
    assert blender.ops.beyondscene.stop_backend() == {"FINISHED"}
    assert state.link.state == "off" and ticker.drain() is None
    (waits,) = state.jobs.values()
    assert waits.path.stem == "duo 0002" and state.left_over == 1
    assert "trying again" not in drawn(panels.BEYONDSCENE_PT_main)


def test_a_test_of_the_connection_tries_a_lost_backend_at_once(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any, picture: bytes, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    state, peer = session.current(), start_peer(hold=True)
    use_backend(peer.connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    monkeypatch.setattr(link, "AGAIN_S", 1000)
    lose(peer.close)
    until(lambda: state.link.state == "lost" and "No backend answers" in state.link.lost)
    use_backend(start_peer(picture=picture).connection)
    assert blender.ops.beyondscene.test_backend() == {"FINISHED"}
    until(lambda: not state.jobs)
    assert "answered after" in state.notice and (tmp_path / "duo 0001.png").read_bytes() == picture


def test_a_picture_that_is_cancelled_in_a_gap_ends_when_the_backend_answers_again(
    blender: Any, duo: Any, gateway: Any, use_backend: Any, lose: Any, tmp_path: Path
) -> None:
    state, own = session.current(), duo.beyondscene
    use_backend(gateway.connection())
    own.quality, own.knobs.steps, own.use_own_size, own.width, own.height = "CUSTOM", 999, True, 64, 64
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    own.knobs.steps = 1
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    first, second = state.jobs
    until(lambda: state.jobs[first].running and state.jobs[second].accepted)
    lose(lambda: gateway.process.send_signal(signal.SIGSTOP))
    assert blender.ops.beyondscene.cancel(job_id=first) == {"FINISHED"} and len(state.jobs) == 2
    assert list(pending_pictures.pending()) == [second]  # if it were never found again
    state.rename_blend(blender.data.filepath, str(tmp_path / "other.blend"))
    assert list(pending_pictures.pending()) == [second]
    state.rename_blend(str(tmp_path / "other.blend"), blender.data.filepath)
    gateway.process.send_signal(signal.SIGCONT)
    until(lambda: not state.jobs)
    assert not (tmp_path / "duo 0001.png").exists() and (tmp_path / "duo 0002.png").exists()
    assert not pending_pictures.pending() and not state.error


def test_a_picture_that_may_have_reached_the_backend_is_cancelled_there_after_a_gap(
    blender: Any, duo: Any, gateway: Any, use_backend: Any, lose: Any, tmp_path: Path
) -> None:
    state, own = session.current(), duo.beyondscene
    use_backend(gateway.connection())
    own.quality, own.knobs.steps, own.use_own_size, own.width, own.height = "CUSTOM", 999, True, 64, 64
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    first = next(iter(state.jobs))
    until(lambda: state.jobs[first].running)
    gateway.process.send_signal(signal.SIGSTOP)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    second = list(state.jobs)[1]
    assert state.jobs[second].sent and not state.jobs[second].accepted
    time.sleep(0.2)  # it is in the line
    lose(lambda: None)
    assert blender.ops.beyondscene.cancel(job_id=second) == {"FINISHED"}
    assert state.jobs[second].cancelling and list(pending_pictures.pending()) == [first]
    gateway.process.send_signal(signal.SIGCONT)
    until(lambda: second not in state.jobs)
    talk = Talk(gateway.connection())
    talk.greet()
    talk.say(ListJobs(job_id=second))
    answer = talk.hear()  # what a line holds as it breaks may be lost with it: then there is nothing to cancel
    assert isinstance(answer, Refused) or (isinstance(answer, JobsListed) and answer.jobs[0].state == "cancelled")
    talk.close()
    assert first in state.jobs and not state.error


def test_a_connection_that_breaks_says_why_and_is_not_tried_again(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any
) -> None:
    state = session.current()
    use_backend(start_peer(hold=True).connection)
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    state.link.ask(lambda client: [][0])
    until(lambda: not state.link.alive)
    assert "broke: list index out of range." in state.error and state.left_over == 1


def test_a_backend_elsewhere_that_owes_nothing_is_left_and_the_panel_says_how_to_come_back(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any
) -> None:
    state, peer = session.current(), start_peer()
    use_backend(peer.connection)
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready")
    lose(peer.close)
    assert state.link.state == "off" and "press Start to connect again; pictures go on there" in state.error
    assert "Start" in drawn(panels.BEYONDSCENE_PT_main)


def test_stop_stops_an_animation_that_is_exported_and_cancel_ends_it(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any
) -> None:
    state = session.current()
    use_backend(start_peer(hold=True, waiting_jobs=1).connection)
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    assert blender.ops.beyondscene.stop_backend() == {"FINISHED"}
    assert animation.turn() is not None and state.link.state == "off" and len(state.jobs) == 1
    assert blender.ops.beyondscene.cancel() == {"FINISHED"}
    assert animation.turn() is None and state.link.state == "off" and not state.jobs
    assert not blender.app.timers.is_registered(animation.turn)


def test_frames_are_exported_by_one_timer(blender: Any, duo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[object] = []
    lists = SimpleNamespace(
        is_registered=timers.__contains__, unregister=timers.remove, register=lambda turn, **how: timers.append(turn)
    )
    monkeypatch.setattr(animation, "bpy", SimpleNamespace(app=SimpleNamespace(timers=lists), types=blender.types))
    for _ in range(2):
        assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
        animation.take_turns()
        assert timers == [animation.turn]
        animation.cancel()
        assert not timers


def test_what_was_sent_into_a_line_that_is_dead_is_sent_again(
    blender: Any, duo: Any, start_peer: Any, use_backend: Any, lose: Any, picture: bytes, tmp_path: Path
) -> None:
    state, peer = session.current(), start_peer()
    use_backend(peer.connection)
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready")
    peer.close()
    assert blender.ops.beyondscene.render() == {"FINISHED"} and state.job and state.job.sent
    state.test(preferences.get(blender.context))
    lose(peer.close)
    assert state.job and state.left_over == 0
    use_backend(start_peer(picture=picture).connection)
    until(lambda: state.link.state == "ready" and not state.jobs)
    assert (tmp_path / "duo 0001.png").read_bytes() == picture
    assert not state.notice  # the test was of the connection before


def test_frames_that_a_crowded_backend_refuses_for_now_all_arrive(
    blender: Any, example: Example, start_gateway: Any, use_backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    monkeypatch.setattr(send_queue, "LATER_S", 0.3)
    gateway, state = start_gateway(waiting_jobs=2), session.current()
    connection = gateway.connection()
    talk = Talk(connection)
    talk.greet()
    talk.hear_until(Started, running := talk.submit(work(steps=999)))  # somebody else's, as are the two that fill the line
    others = [running, talk.submit(work(steps=999)), talk.submit(work(steps=999))]
    talk.hear_until(Accepted, others[-1])
    use_backend(connection)
    scene, own = blender.context.scene, blender.context.scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 1
    own.use_own_size, own.width, own.height = True, 64, 64
    scene.frame_start, scene.frame_end = 1, 6
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    while animation.turn() is not None:
        pass
    until(lambda: state.unfinished.queue.crowded)
    for _ in range(20):
        ticker.drain()
        time.sleep(0.05)
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert len(state.jobs) == 6 and not state.error and "6 wait" not in shown and "5 wait" in shown
    assert "The backend takes no more for now and is asked again: 2 jobs are waiting, which is the limit" in shown
    last = list(state.jobs)[-1]
    assert blender.ops.beyondscene.cancel(job_id=last) == {"FINISHED"} and last not in state.jobs
    for other in others:
        talk.say(Cancel(job_id=other))
    until(lambda: not state.jobs)
    talk.close()
    assert len(list((tmp_path / "duo animation 0001").iterdir())) == 5
    assert not state.error and not state.unfinished.queue.crowded


def test_the_error_of_a_frame_says_which_frame_it_is_of(
    blender: Any, duo: Any, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    use_backend(gateway.connection())
    state, own = session.current(), duo.beyondscene
    own.quality, own.knobs.steps, own.use_own_size, own.width, own.height = "CUSTOM", 1, True, 64, 64
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    assert animation.turn() is not None
    now = animation.recording()
    assert now
    now.settings.picture["prompt"] = "a careless city"
    assert animation.turn() is not None
    now.settings.picture["prompt"] = "a city"
    assert animation.turn() is None
    until(lambda: not state.jobs)
    assert "duo animation 0001, frame 2: The scene is careless: take care." in drawn(panels.BEYONDSCENE_PT_main)
    assert names_in(tmp_path / "duo animation 0001") == ["0001.png", "0003.png"]
