"""A range of frames while other things happen: Blender's own render, a backend that goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import animation, blender_render, planner, preferences, session

from .conftest import until

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
