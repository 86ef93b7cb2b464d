"""What the picture would take as the scene now stands: asked of the backend, which knows its models and its own speed."""

import time

import bpy

from ..protocol import Estimated, RenderRequest
from ..protocol.check import check_bounds
from . import blender_render
from .exporters import ExportError, find_shown_enabled, gather_request, picture_size
from .quality import chosen_settings
from .session import current

LOOK_S = 1.0  # between two looks at the scene
AFTER_FAULT_S = 60.0  # which most likely happens again
SHARE = 20  # a look that takes long makes the next one wait so many times as long

Key = tuple[object, ...]  # of what the backend refuses pictures for, cheap enough for every redraw

_keys: dict[int, Key] = {}  # of the newest question about a scene
_questions: dict[int, tuple[RenderRequest, str]] = {}  # the newest about a scene, by its session_uid


def look(context: bpy.types.Context) -> None:
    """Ask anew where the scene has changed since the last time."""
    session, scene, models = current(), context.scene.session_uid, context.scene.beyondscene.models
    try:
        now = gather_request(context), models  # without masks, which take long to draw
        if now == _questions.get(scene) and scene in session.estimates.known:
            return
        check_bounds(now[0])
    except (ExportError, ValueError):  # the panel says so already, or Render does
        now = None
    if now and models:
        _questions[scene], _keys[scene] = now, key_of(context)
        if (known := session.estimates.known.get(scene)) and known.obstacle:
            del session.estimates.known[scene]  # it may be mended
        session.estimates.ask(scene, *now)
    else:
        session.estimates.known.pop(scene, None)
        _questions.pop(scene, None)


def key_of(context: bpy.types.Context) -> Key:
    own, people = context.scene.beyondscene, find_shown_enabled(context.view_layer)
    loras = [tuple(row.name for row in one.loras) for one in (own, *(one.described.beyondscene for one in people))]
    return picture_size(context.scene), own.models, chosen_settings(own), [one.id for one in people], loras


def plan_of(context: bpy.types.Context) -> Estimated | None:
    """What a picture of the scene would take, where a backend has said so and what it refused is as it was then."""
    scene = context.scene.session_uid
    plan = current().estimates.known.get(scene)
    return None if plan and plan.obstacle and _keys.get(scene) != key_of(context) else plan


def obstacle(context: bpy.types.Context) -> str:
    """Why the backend would refuse the picture, where it has said so."""
    plan = plan_of(context)
    return plan.obstacle if plan else ""


def watch() -> float:
    """The timer's body: look at each scene that a window shows while a backend is there; say when to come again."""
    session, windows = current(), bpy.context.window_manager.windows
    busy = blender_render.is_running() or any(one.screen.is_animation_playing for one in windows)
    if session.link.state != "ready" or not windows or busy:
        return LOOK_S
    began_s = time.monotonic()
    try:
        for window in {one.scene.session_uid: one for one in windows}.values():
            with bpy.context.temp_override(window=window):
                look(bpy.context)
    except Exception as error:  # Blender would end the timer
        session.note_fault("The estimate of what a picture takes", error)
        return AFTER_FAULT_S
    return max(LOOK_S, SHARE * (time.monotonic() - began_s))


def register() -> None:
    if not bpy.app.background:
        bpy.app.timers.register(watch, first_interval=LOOK_S, persistent=True)


def unregister() -> None:
    _questions.clear()
    _keys.clear()
    if bpy.app.timers.is_registered(watch):
        bpy.app.timers.unregister(watch)
