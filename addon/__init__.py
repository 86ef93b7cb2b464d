"""The add-on: register() makes it present in Blender, unregister() leaves nothing behind."""

from types import ModuleType


def parts() -> tuple[ModuleType, ...]:
    """What is registered, in this order; what draws comes after what it draws."""
    from . import (
        animation,
        animation_operators,
        arrivals,
        backdrop_operators,
        backend_operators,
        character_operators,
        controls,
        diagnostics,
        editors,
        face_points,
        history,
        history_operators,
        joints,
        loras,
        operators,
        overrides,
        panels,
        planner,
        preferences,
        properties,
        session,
        texts,
        thumbnails,
        ticker,
        undo,
    )
    from .exporters import shown

    state = (
        properties,
        overrides,
        shown,
        preferences,
        editors,
        undo,
        thumbnails,
        session,
        ticker,
        arrivals,
        planner,
        animation,
        history,
    )
    doing = (
        operators,
        backdrop_operators,
        backend_operators,
        animation_operators,
        character_operators,
        history_operators,
        diagnostics,
        loras,
        face_points,
        texts,
    )
    return *state, *doing, panels, joints, controls


def register() -> None:
    import atexit

    for part in parts():
        part.register()
    atexit.register(leave)


def leave() -> None:
    """At Python's end, before which Blender need not have unregistered its add-ons: the backend must stop.

    With classes of an add-on still registered the bpy wheel does not leave. In Blender itself their types are gone then.
    """
    import bpy

    from . import session

    if bpy.app.binary_path:
        session.part()
    else:  # the wheel
        unregister()


def unregister() -> None:
    import atexit

    atexit.unregister(leave)
    for part in reversed(parts()):
        part.unregister()
