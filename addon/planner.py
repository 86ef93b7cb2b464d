"""What the picture would take as the scene now stands: asked of the backend, which knows its models and its own speed."""

import time

import bpy

from ..protocol import RenderRequest
from .exporters import ExportError, gather_request
from .session import current

LOOK_S = 1.0  # between two looks at the scene
SHARE = 20  # a look that takes long makes the next one wait so many times as long

_asked: tuple[RenderRequest, str] | None = None  # what the newest answer is about


def look(context: bpy.types.Context) -> None:
    """Ask anew where the scene has changed since the last time."""
    global _asked
    session, models = current(), context.scene.beyondscene.models
    try:
        now = gather_request(context), models  # without masks, which take long to draw
    except (ExportError, ValueError):  # the panel says so already
        session.plan = _asked = None
        return
    if now != _asked or session.plan is None:
        _asked = now
        session.estimate(*now)


def obstacle(context: bpy.types.Context) -> str:
    """Why the backend would refuse the picture, where it has said so."""
    plan = current().plan
    return plan.obstacle if plan else ""


def watch() -> float:
    """The timer's body: look while a backend is there; say when to come again."""
    session, windows = current(), bpy.context.window_manager.windows
    if session.link.state != "ready" or not windows or any(one.screen.is_animation_playing for one in windows):
        return LOOK_S
    began_s = time.monotonic()
    with bpy.context.temp_override(window=windows[0]):
        look(bpy.context)
    return max(LOOK_S, SHARE * (time.monotonic() - began_s))


def register() -> None:
    if not bpy.app.background:
        bpy.app.timers.register(watch, first_interval=LOOK_S, persistent=True)


def unregister() -> None:
    global _asked
    _asked = None
    if bpy.app.timers.is_registered(watch):
        bpy.app.timers.unregister(watch)
