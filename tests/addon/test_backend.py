"""The backend as the artist sees it: found, tested, described, and reachable without a network where it is on this machine."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import diagnostics, panels, preferences, session
from beyondscene.addon.loras import known_loras
from beyondscene.addon.panels.backend import draw_backend

from .conftest import until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def test_a_test_of_the_connection_says_who_answers(blender: Any, gateway: Any, use_backend: Any) -> None:
    use_backend(gateway.connection())
    state = session.current()
    assert "Backend is off" in drawn(panels.BEYONDSCENE_PT_main)
    assert blender.ops.beyondscene.test_backend() == {"FINISHED"}
    assert not blender.ops.beyondscene.test_backend.poll()
    until(lambda: state.notice)
    assert state.link.endpoint in state.notice and "answered after" in state.notice
    assert "Backend is ready" in drawn(panels.BEYONDSCENE_PT_main)
    state.notice = ""
    assert blender.ops.beyondscene.test_backend() == {"FINISHED"}  # of a connection that stands
    until(lambda: state.notice)
    until(lambda: state.devices)
    shown = drawn(panels.BEYONDSCENE_PT_backend)
    assert "Device: stand-in" in shown and "embedded: 128 px" in shown and "half: lacks controlnet" in shown
    assert "Disconnect to choose another" in shown
    state.devices *= 2  # as of a backend with a worker on each of two
    assert drawn(panels.BEYONDSCENE_PT_backend).count("Device: stand-in") == 2
    assert blender.ops.beyondscene.stop_backend() == {"FINISHED"}
    assert not state.devices and not blender.ops.beyondscene.stop_backend.poll()


def test_a_test_of_the_connection_brings_loras_that_are_new_while_a_picture_is_made(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    state, own = session.current(), blender.context.scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 100
    own.use_own_size, own.width, own.height = True, 64, 64
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    assert known_loras(blender.context.scene) == []
    (tmp_path / "user" / "beyondscene" / "loras").mkdir(parents=True)
    (tmp_path / "user" / "beyondscene" / "loras" / "ink.safetensors").touch()
    assert blender.ops.beyondscene.test_backend() == {"FINISHED"}
    until(lambda: state.notice)
    assert known_loras(blender.context.scene) == ["ink"] and len(state.jobs) == 1
    until(lambda: not state.jobs)
    assert sorted(path.name for path in tmp_path.glob("duo*")) == ["duo 0001.png"] and not state.error


def test_a_backend_elsewhere_is_left_when_online_access_is_taken_away(
    blender: Any, start_peer: Any, use_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_backend(start_peer().connection)
    state = session.current()
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready")
    monkeypatch.setattr(state.link, "endpoint", "tcp://192.0.2.1:5555")  # as if it were there
    state.tick()
    assert state.link.state == "off" and "192.0.2.1:5555 is on another machine" in drawn(panels.BEYONDSCENE_PT_main)


def test_paths_are_taken_as_an_artist_writes_or_pastes_them(
    blender: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written = {"python": "~/.venv/bin/python", "connection_file": ' "/keys/studio.json" ', "models_folder": "'~/models'"}
    monkeypatch.setattr(preferences, "stored", lambda context: SimpleNamespace(place="OTHER", **written))
    python, key_file, models = preferences.get(blender.context)
    assert (python, key_file, models) == (f"{tmp_path}/.venv/bin/python", "/keys/studio.json", f"{tmp_path}/models")


def test_another_machine_needs_online_access_and_this_one_does_not(
    blender: Any, start_peer: Any, use_backend: Any, gateway: Any
) -> None:
    assert not blender.app.online_access
    far = msgspec.structs.replace(start_peer().connection, endpoint="tcp://192.0.2.7:5555")
    use_backend(far)
    with pytest.raises(RuntimeError, match=r"192\.0\.2\.7:5555 is on another machine.*Preferences > System > Network"):
        blender.ops.beyondscene.start_backend()
    assert session.current().link.state == "off"
    use_backend(gateway.connection())
    assert blender.ops.beyondscene.start_backend() == {"FINISHED"}
    until(lambda: session.current().link.state == "ready")


def test_the_key_file_counts_only_where_it_is_chosen(blender: Any) -> None:
    addon = blender.context.preferences.addons.new()
    addon.module = "beyondscene"
    try:
        own = preferences.stored(blender.context)
        assert own is not None
        own.python, own.connection_file = "/opt/python", "/studio/ana.key"
        assert preferences.get(blender.context) == preferences.Preferences("/opt/python", None, "")
        assert "Backend's Python" in drawn(panels.BEYONDSCENE_PT_backend)
        own.place = "OTHER"
        assert preferences.get(blender.context).connection_file == "/studio/ana.key"
        own.connection_file = ""
        with pytest.raises(RuntimeError, match="No key file is chosen: name the one"):
            blender.ops.beyondscene.start_backend()
        assert "Key File" in drawn(panels.BEYONDSCENE_PT_backend)
        in_preferences = SimpleNamespace(draw=lambda self, context: draw_backend(self.layout, context, own))
        words = drawn(in_preferences)  # type: ignore[arg-type]
        assert "Backend is off" in words and "Start" in words and "Key File" in words and "Test Connection" in words
    finally:
        blender.context.preferences.addons.remove(addon)


def test_diagnostics_hold_what_happened_and_no_keys(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    connection = start_peer(damage=True, picture=b"no picture").connection
    use_backend(connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path)
    with pytest.raises(RuntimeError, match="damaged on the way"):
        blender.ops.beyondscene.render(wait=True)
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert "damaged on the way" in shown and "Copy Diagnostics" in shown
    text = diagnostics.describe(blender.context)
    for fact in (
        "damaged on the way",
        blender.app.version_string,
        connection.endpoint,
        "test device",
        "1024x1024 px, STANDARD",
    ):
        assert fact in text
    for key in (connection.client_secret_key, connection.client_public_key, connection.server_public_key):
        assert key not in text


def test_what_a_backend_lacks_can_be_set_from_the_error(
    blender: Any, example: Example, monkeypatch: Any, tmp_path: Path
) -> None:
    example("duo")
    monkeypatch.setattr(preferences, "get", lambda context: preferences.Preferences(str(tmp_path / "python"), None, ""))
    try:
        with pytest.raises(RuntimeError):
            blender.ops.beyondscene.start_backend()
        assert drawn(panels.BEYONDSCENE_PT_main).endswith("Copy Diagnostics\nDismiss\nOpen Preferences")
        session.current().refuse("The folder cannot be written to")
        assert drawn(panels.BEYONDSCENE_PT_main).endswith("Copy Diagnostics\nDismiss")
    finally:
        session.current().problem = None
