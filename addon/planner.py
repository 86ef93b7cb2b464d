"""What the picture would take as the scene now stands: asked of the backend, which knows its models and its own speed."""

import time

import bpy

from ..protocol import Estimated, RenderRequest
from ..protocol.check import check_bounds
from .exporters import ExportError, gather_request
from .session import current

LOOK_S = 1.0  # between two looks at the scene
SHARE = 20  # a look that takes long makes the next one wait so many times as long

_asked: dict[int, tuple[RenderRequest, str]] = {}  # what the newest answer about a scene is about, by the scene's session_uid


def look(context: bpy.types.Context) -> None:
    """Ask anew where the scene has changed since the last time."""
    session, scene, now = current(), context.scene.session_uid, gather(context)
    if now is None:
        session.plans.pop(scene, None)
        _asked.pop(scene, None)
    elif now != _asked.get(scene) or scene not in session.plans:
        _asked[scene] = now
        session.estimate(scene, *now)


def gather(context: bpy.types.Context) -> tuple[RenderRequest, str] | None:
    """The picture without its masks, which take long to draw, and its models; None where a backend could not be asked about it,
    as the panel says, or Render does.
    """
    try:
        request = gather_request(context)
        check_bounds(request)
    except (ExportError, ValueError):
        return None
    models = context.scene.beyondscene.models
    return (request, models) if models else None


def plan_of(scene: bpy.types.Scene) -> Estimated | None:
    """What a picture of `scene` would take, where a backend has said so."""
    return current().plans.get(scene.session_uid)


def obstacle(context: bpy.types.Context) -> str:
    """Why the backend would refuse the picture, where it has said so."""
    plan = plan_of(context.scene)
    return plan.obstacle if plan else ""


def watch() -> float:
    """The timer's body: look at each scene that a window shows while a backend is there; say when to come again."""
    session, windows = current(), bpy.context.window_manager.windows
    if session.link.state != "ready" or not windows or any(one.screen.is_animation_playing for one in windows):
        return LOOK_S
    began_s = time.monotonic()
    for window in {one.scene.session_uid: one for one in windows}.values():
        with bpy.context.temp_override(window=window):
            look(bpy.context)
    return max(LOOK_S, SHARE * (time.monotonic() - began_s))


def register() -> None:
    if not bpy.app.background:
        bpy.app.timers.register(watch, first_interval=LOOK_S, persistent=True)


def unregister() -> None:
    _asked.clear()
    if bpy.app.timers.is_registered(watch):
        bpy.app.timers.unregister(watch)
