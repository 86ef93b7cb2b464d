"""The head of the tab: the backend's state, the scene's prompt, the one button, and what comes of it."""

from collections.abc import Sequence
from pathlib import Path

import bpy

from ... import __package__ as base_package
from .. import animation
from ..backdrop_operators import BEYONDSCENE_OT_render_backdrop
from ..diagnostics import BEYONDSCENE_OT_copy_diagnostics
from ..images import sequence_of
from ..job import Job, describe_remaining
from ..operators import BEYONDSCENE_OT_cancel, BEYONDSCENE_OT_dismiss_error, BEYONDSCENE_OT_render, why_not
from ..session import current
from ..thumbnails import growing_icon
from .backend import draw_state
from .sidebar import Sidebar, draw_error, draw_prompt, draw_sentence

WAITING_SHOWN = 4  # of the pictures that wait, by name
PREVIEW_SCALE = 8.0  # of an icon, whose side is about 20 px


class BEYONDSCENE_PT_main(Sidebar, bpy.types.Panel):
    bl_label = "BeyondScene"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings, session = self.layout, context.scene.beyondscene, current()
        draw_state(layout)
        if session.link.lost:
            sentence = f"{session.link.lost} What it has goes on there and is found again; Disconnect stops the trying"
            draw_sentence(layout.column(align=True), context, sentence, "INFO")
        if not session.link.lasting:
            sentence = "This is a second Blender: its backend keeps nothing. Pictures begin anew after a stop, and end with it"
            draw_sentence(layout.column(align=True), context, sentence, "INFO")
        if session.left_over and not session.link.alive:
            pictures = "A picture is" if session.left_over == 1 else f"{session.left_over} pictures are"
            column = layout.box().column(align=True)
            draw_sentence(column, context, f"{pictures} still under way from before: Start brings what is done here", "INFO")
        column = layout.column(align=True)
        column.label(text="Scene, without its people")
        draw_prompt(column, settings, "a city plaza at noon")
        column.prop(settings, "negative_prompt", text="", placeholder="not wanted (optional)")
        column.prop(settings, "style", text="", placeholder="style of everything (optional)")
        draw_backdrop(layout, settings)
        button = layout.column()
        button.scale_y = 1.4
        button.operator(BEYONDSCENE_OT_render.bl_idname, icon="RENDER_STILL")
        draw_jobs(layout, context)
        draw_outcome(layout, context)


def draw_backdrop(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
    column = layout.column(align=True)
    if settings.backdrop:  # beside the label, its name would have no room among the buttons that it has
        column.label(text="Backdrop:")
    row = column.row(align=True)
    row.template_ID(settings, "backdrop", open="image.open", text="" if settings.backdrop else "Backdrop")
    row.operator(BEYONDSCENE_OT_render_backdrop.bl_idname, text="", icon="SCENE")
    if settings.backdrop:
        text = "Drawn Anew" if settings.backdrop_strength else "Drawn Anew (0: Models' Own)"
        layout.prop(settings, "backdrop_strength", slider=True, text=text)


def draw_jobs(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The pictures that are being made, and those that wait, each with a button that cancels it."""
    session = current()
    jobs = list(session.jobs.values())
    made = [job for job in jobs if job.running] or jobs[:1]
    waiting = [job for job in jobs if job not in made]
    for job in made:
        draw_job(layout.box(), context, job)
    if growing_icon():
        layout.template_icon(icon_value=growing_icon(), scale=PREVIEW_SCALE)
    if waiting:
        column = layout.box().column(align=True)
        column.label(text=f"{len(waiting)} wait{'s' * (len(waiting) == 1)}", icon="TIME")
        for job in waiting[:WAITING_SHOWN]:
            draw_name(column, job)
        if len(waiting) > WAITING_SHOWN:
            column.label(text=f"and {len(waiting) - WAITING_SHOWN} more", icon="BLANK1")
    if session.unfinished.queue.crowded:
        sentence = f"The backend takes no more for now and is asked again: {session.unfinished.queue.crowded}"
        draw_sentence(layout.column(align=True), context, sentence, "INFO")
    if obstacle := animation.obstacle():
        draw_sentence(layout.column(align=True), context, obstacle, "INFO")
    if len(jobs) > 1 or animation.recording():
        layout.operator(BEYONDSCENE_OT_cancel.bl_idname, text="Cancel All", icon="CANCEL")


def draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    """One that is being made: how far, and what is done now."""
    draw_name(layout, job)
    layout.progress(factor=job.fraction, text=f"{job.fraction:.0%}  {describe_remaining(job.remaining_s)}".rstrip())
    draw_sentence(layout.column(align=True), context, job.status)
    draw_remarks(layout, context, job.remarks)


def draw_remarks(layout: bpy.types.UILayout, context: bpy.types.Context, remarks: Sequence[str]) -> None:
    for remark in remarks:
        draw_sentence(layout.column(align=True), context, remark, "INFO")


def draw_name(layout: bpy.types.UILayout, job: Job) -> None:
    row, sequence = layout.row(), sequence_of(job.path)
    row.label(text=f"{sequence}, {job.path.stem}" if sequence else job.path.stem, translate=False)
    button = row.row()
    button.enabled = not job.cancelling
    button.operator(BEYONDSCENE_OT_cancel.bl_idname, text="", icon="X", emboss=False).job_id = job.id


def draw_outcome(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What went wrong, or is in the way, with the next step; else the name of the last picture."""
    session = current()
    if problem := session.problem:
        column = draw_error(layout, context, problem.text).column(align=True)
        row = column.row(align=True)
        row.operator(BEYONDSCENE_OT_copy_diagnostics.bl_idname, icon="COPYDOWN")
        row.operator(BEYONDSCENE_OT_dismiss_error.bl_idname, text="", icon="X")
        if problem.kind == "backend":  # what helps is most often a setting
            column.operator("preferences.addon_show", text="Open Preferences", icon="PREFERENCES").module = base_package
    elif not session.jobs and (obstacle := why_not(context)):
        draw_error(layout, context, obstacle)
    elif not session.jobs and (image := session.picture.find()):  # and not in another file
        layout.label(text=image.name, icon="IMAGE_DATA", translate=False)
        draw_remarks(layout, context, session.picture.remarks)
    if session.missed:
        blend, path = Path(session.missed.blend).name, session.missed.path
        sentence = f"A picture of {blend} has come: {path}. When {blend} is opened again, it is among its images"
        draw_sentence(layout.column(align=True), context, sentence, "INFO")
