"""Where the backend is, whether it answers, what it computes on and which models it has."""

import bpy

from ..backend_operators import BEYONDSCENE_OT_start_backend, BEYONDSCENE_OT_stop_backend, BEYONDSCENE_OT_test_backend
from ..job import describe_bytes
from ..preferences import BEYONDSCENE_AP_preferences, draw_backend_place, stored
from ..session import Session, current
from .sidebar import Section, draw_error, draw_sentence

GREY, YELLOW, GREEN, RED = "RADIOBUT_OFF", "COLLECTION_COLOR_03", "COLLECTION_COLOR_04", "COLLECTION_COLOR_01"

STATES = {
    "off": ("Backend is off", GREY),
    "starting": ("Backend is starting", YELLOW),
    "connecting": ("Connecting", YELLOW),
    "ready": ("Backend is ready", GREEN),
    "lost": ("Connection lost, trying again", YELLOW),
}


class BEYONDSCENE_PT_backend(Section, bpy.types.Panel):
    bl_label = "Backend"
    bl_order = 6
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        draw_place(self.layout, context, stored(context))


def draw_backend(layout: bpy.types.UILayout, context: bpy.types.Context, own: BEYONDSCENE_AP_preferences) -> None:
    """All of it, for the preferences: the state with its button, why there is none, and what the panel shows."""
    draw_state(layout)
    if current().error:
        draw_error(layout, context, current().error)
    draw_place(layout, context, own)


def draw_place(layout: bpy.types.UILayout, context: bpy.types.Context, own: BEYONDSCENE_AP_preferences | None) -> None:
    """Where the backend is, the test of it, and what it says of itself."""
    session = current()
    place = layout.column()
    if own is not None:
        place.enabled = not session.link.alive
        draw_backend_place(place, own)
    if session.link.alive:
        layout.label(text=f"{'Stop it' if session.link.local else 'Disconnect'} to choose another", icon="INFO")
    layout.operator(BEYONDSCENE_OT_test_backend.bl_idname, icon="FILE_REFRESH")
    if session.notice:
        draw_sentence(layout.column(align=True), context, session.notice, "CHECKMARK")
    if session.welcome:
        draw_facts(layout.box().column(align=True), context, session)


def draw_state(layout: bpy.types.UILayout) -> None:
    """One row: a dot, the state in words, and the button that changes it."""
    session = current()
    text, icon = STATES["lost" if session.link.lost else session.link.state]
    if session.link.state == "off" and session.problem and session.problem.kind == "backend":
        icon = RED
    row = layout.split(factor=0.7)
    row.label(text=text, icon=icon)
    if not session.link.alive:
        row.operator(BEYONDSCENE_OT_start_backend.bl_idname, text="Start")
    else:
        row.operator(BEYONDSCENE_OT_stop_backend.bl_idname, text="Stop" if session.link.local else "Disconnect")


def draw_facts(layout: bpy.types.UILayout, context: bpy.types.Context, session: Session) -> None:
    """What the backend says of itself."""
    assert session.welcome
    if not session.devices:
        layout.label(text="Device: not known yet, it is loading", icon="SORTTIME")
    for device in session.devices:
        draw_sentence(layout, context, f"Device: {device.name}")
        if device.total_bytes:
            layout.label(text=f"Memory: {describe_bytes(device.free_bytes)} of {describe_bytes(device.total_bytes)} free")
    if session.link.local and session.devices:
        layout.operator(BEYONDSCENE_OT_stop_backend.bl_idname, text="Stop and Free Memory", icon="X")
    layout.label(text=f"Pictures that wait: {session.queued}")
    for one in session.welcome.models:
        column = layout.column(align=True)
        column.active = not one.missing
        state = f"lacks {', '.join(one.missing)}" if one.missing else f"{one.training_resolution_px} px"
        draw_sentence(column, context, f"{one.name}: {state}", "ERROR" if one.missing else "CHECKMARK")
