"""The head of the tab: the backend's state, the scene's prompt, and the one button."""

import bpy

from ..job import describe_remaining
from ..operators import (
    BEYONDSCENE_OT_cancel,
    BEYONDSCENE_OT_render,
    BEYONDSCENE_OT_start_backend,
    BEYONDSCENE_OT_stop_backend,
    why_not,
)
from ..session import current
from .sidebar import Sidebar, draw_error

BACKEND_LINES = {
    "off": ("Backend is off", "RADIOBUT_OFF"),
    "starting": ("Backend is starting", "SORTTIME"),
    "connecting": ("Connecting", "SORTTIME"),
    "ready": ("Backend is ready", "RADIOBUT_ON"),
}


class BEYONDSCENE_PT_main(Sidebar, bpy.types.Panel):
    bl_label = "BeyondScene"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.beyondscene
        draw_backend(layout)
        column = layout.column(align=True)
        column.label(text="Scene, without its people")
        column.prop(settings, "prompt", text="", placeholder="a city plaza at noon")
        column.prop(settings, "negative_prompt", text="", placeholder="not wanted (optional)")
        draw_render(layout, context)


def draw_backend(layout: bpy.types.UILayout) -> None:
    session = current()
    text, icon = BACKEND_LINES[session.backend]
    row = layout.split(factor=0.7)
    row.label(text=text, icon=icon)
    if session.backend == "off":
        row.operator(BEYONDSCENE_OT_start_backend.bl_idname, text="Start")
    else:
        row.operator(BEYONDSCENE_OT_stop_backend.bl_idname, text="Stop")


def draw_render(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    session, job = current(), current().job
    column = layout.column()
    column.scale_y = 1.4
    if job:
        column.operator(BEYONDSCENE_OT_cancel.bl_idname, icon="CANCEL")
        layout.progress(factor=job.fraction, text=f"{job.fraction:.0%}  {describe_remaining(job.remaining_s)}".rstrip())
        layout.label(text=job.status)
    else:
        column.operator(BEYONDSCENE_OT_render.bl_idname, icon="RENDER_STILL")
    error = session.error or ("" if job else why_not(context))
    if error:
        draw_error(layout, context, error)
    elif session.picture and not job:
        layout.label(text=session.picture, icon="IMAGE_DATA")
