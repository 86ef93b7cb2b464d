"""The head of the tab: the backend's state, the scene's prompt, the one button, and what comes of it."""

from pathlib import Path

import bpy

from ... import __package__ as base_package
from ..diagnostics import BEYONDSCENE_OT_copy_diagnostics
from ..job import Job, describe_remaining
from ..operators import BEYONDSCENE_OT_cancel, BEYONDSCENE_OT_render, why_not
from ..session import current
from ..thumbnails import growing_icon
from .backend import draw_state
from .sidebar import Sidebar, draw_error, draw_sentence

PREVIEW_SCALE = 8.0  # of an icon, whose side is about 20 px


class BEYONDSCENE_PT_main(Sidebar, bpy.types.Panel):
    bl_label = "BeyondScene"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings, session = self.layout, context.scene.beyondscene, current()
        draw_state(layout)
        if session.left_over and not session.link.alive:
            pictures = "A picture is" if session.left_over == 1 else f"{session.left_over} pictures are"
            column = layout.box().column(align=True)
            draw_sentence(column, context, f"{pictures} still under way from before: Start brings what is done here", "INFO")
        column = layout.column(align=True)
        column.label(text="Scene, without its people")
        column.prop(settings, "prompt", text="", placeholder="a city plaza at noon")
        column.prop(settings, "negative_prompt", text="", placeholder="not wanted (optional)")
        button = layout.column()
        button.scale_y = 1.4
        if session.job:
            button.operator(BEYONDSCENE_OT_cancel.bl_idname, icon="CANCEL")
            draw_job(layout, context, session.job, len(session.jobs))
        else:
            button.operator(BEYONDSCENE_OT_render.bl_idname, icon="RENDER_STILL")
        draw_outcome(layout, context)


def draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job, jobs: int) -> None:
    """The picture that is being made: how far, what is done now, and what it looks like."""
    layout.progress(factor=job.fraction, text=f"{job.fraction:.0%}  {describe_remaining(job.remaining_s)}".rstrip())
    draw_sentence(layout.column(align=True), context, job.status)
    if jobs > 1:
        layout.label(text=f"{job.path.stem}, and {jobs - 1} more")
    if growing_icon():
        layout.template_icon(icon_value=growing_icon(), scale=PREVIEW_SCALE)


def draw_outcome(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What went wrong, or is in the way, with the next step; else the name of the last picture."""
    session = current()
    if session.error:
        column = draw_error(layout, context, session.error).column(align=True)
        column.operator(BEYONDSCENE_OT_copy_diagnostics.bl_idname, icon="COPYDOWN")
        if session.error == session.failure:  # what helps is most often a setting
            column.operator("preferences.addon_show", text="Open Preferences", icon="PREFERENCES").module = base_package
    elif not session.jobs and (obstacle := why_not(context)):
        draw_error(layout, context, obstacle)
    elif not session.jobs and session.picture:
        layout.label(text=session.picture, icon="IMAGE_DATA")
    if session.missed:
        blend, path = Path(session.missed.blend).name, session.missed.path
        sentence = f"A picture of {blend} has come: {path}. When {blend} is opened again, it is among its images"
        draw_sentence(layout.column(align=True), context, sentence, "INFO")
