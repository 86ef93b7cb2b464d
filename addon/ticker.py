"""The timer that lets the session hear its backend, and the panels show what it heard."""

import bpy

from .session import TICK_S, current
from .viewports import redraw_panels


def wake() -> None:
    """See that the queue is drained for as long as there is a backend to hear from."""
    if not bpy.app.timers.is_registered(drain):
        bpy.app.timers.register(drain, first_interval=TICK_S, persistent=True)


def drain() -> float | None:
    """The timer's body: take in what happened, redraw the panel, say when to come again."""
    session = current()
    try:
        changed = session.tick()
    except Exception as error:  # Blender would end the timer, and nothing would be heard any more
        session.note_fault("Hearing the backend", error)
        changed = True
    if changed:
        redraw_panels()
    return TICK_S if session.link.alive else None


def register() -> None:
    pass


def unregister() -> None:
    if bpy.app.timers.is_registered(drain):
        bpy.app.timers.unregister(drain)
