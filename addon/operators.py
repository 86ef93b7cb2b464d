"""Rendering the scene as it is posed now, and cancelling."""

# pyright: reportInvalidTypeForm=false

import errno
import secrets
import time

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from msgspec.structs import replace

from ..protocol import RequestError
from ..protocol.check import check_prompt, check_scene_prompt
from ..protocol.client import new_job_id
from ..protocol.record import deflate
from . import animation, images, planner, preferences
from .exporters import ExportError, check_scene, export_request, find_left_out, find_shown_enabled, picture_size
from .history import LARGEST_SEED
from .job import Job, describe_remaining, describe_seconds, remark_on_hidden
from .obstacles import SaysWhyNot
from .problem import Problem
from .quality import PRESETS, snapped, write_knobs
from .session import TICK_S, current
from .texts import said_by
from .ticker import wake

Result = set[str]

PATIENCE_S = 600.0  # of a script, with a backend that is lost or takes nothing for now


class Waits:
    """A part of an operator: scripts may have it wait."""

    wait: BoolProperty(
        name="Wait", description="Return only when the pictures are here, for scripts", options={"HIDDEN", "SKIP_SAVE"}
    )


class BEYONDSCENE_OT_render(SaysWhyNot, Waits, bpy.types.Operator):
    """Send the posed scene to the backend and bring the picture back. While another is made, this one waits behind it"""

    bl_idname = "beyondscene.render"
    bl_label = "Render Picture"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return why_not(context)

    def execute(self, context: bpy.types.Context) -> Result:
        session, settings = current(), context.scene.beyondscene
        session.problem = None
        if not settings.lock_seed:
            settings.seed = secrets.randbelow(LARGEST_SEED + 1 - settings.variations)
            if bpy.ops.ed.undo_push.poll():  # not where there is no window, as in a timer
                bpy.ops.ed.undo_push(message="Draw Seed")  # else undoing what comes next would bring the old one back
        try:
            jobs = make_jobs(context)
        except (ExportError, RequestError) as error:
            session.refuse(str(error))
        except OSError as error:
            session.refuse(say_unwritable(settings.output_folder, error))
        else:
            session.render(jobs, preferences.get(context))
            wake()
            if self.wait:
                wait_for_picture()
        return outcome(self)


class BEYONDSCENE_OT_cancel(SaysWhyNot, bpy.types.Operator):
    """Stop this picture"""

    bl_idname = "beyondscene.cancel"
    bl_label = "Cancel"

    job_id: StringProperty(name="Job", description="Of the picture; empty: all of them", options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: "BEYONDSCENE_OT_cancel") -> str:
        return "Stop this picture" if properties.job_id else "Stop the pictures that are being rendered, and those that wait"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        jobs = current().jobs.values()
        if jobs and all(job.cancelling for job in jobs):
            return "The picture is being cancelled already"
        return "" if jobs or animation.recording() else "No picture is being rendered"

    def execute(self, context: bpy.types.Context) -> Result:
        if not self.job_id:
            animation.cancel()
        current().cancel(self.job_id)
        return {"FINISHED"}


class BEYONDSCENE_OT_dismiss_error(bpy.types.Operator):
    """Show this no longer"""

    bl_idname = "beyondscene.dismiss_error"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> Result:
        current().problem = None
        return {"FINISHED"}


class BEYONDSCENE_OT_snap_size(bpy.types.Operator):
    """Take the nearest size that a picture may have: at least 64 px and a multiple of 8 each way"""

    bl_idname = "beyondscene.snap_size"
    bl_label = "Use the Nearest Size"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Result:
        own = context.scene.beyondscene
        own.width, own.height = map(snapped, picture_size(context.scene))
        own.use_own_size = True
        return {"FINISHED"}


class BEYONDSCENE_OT_take_quality(bpy.types.Operator):
    """Set every setting below as this quality has it"""

    bl_idname = "beyondscene.take_quality"
    bl_label = "Start From"
    bl_options = {"REGISTER", "UNDO"}

    quality: EnumProperty(name="Quality", items=[(name, one.label, one.description) for name, one in PRESETS.items()])

    def execute(self, context: bpy.types.Context) -> Result:
        write_knobs(context.scene.beyondscene.knobs, PRESETS[self.quality].settings)
        return {"FINISHED"}


def outcome(operator: bpy.types.Operator) -> Result:
    """The end of an operator that talks to the backend: with the session's error, if there is one."""
    error = current().error
    if error:
        operator.report({"ERROR"}, error)
    return {"CANCELLED"} if error else {"FINISHED"}


def say_unwritable(folder: str, error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return f"The name of a file in '{folder}' would be too long: choose a shorter one for the folder or the .blend."
    if error.errno == errno.EILSEQ:
        told = folder.encode(errors="replace").decode()
        return f"The path of the folder '{told}' or of the .blend has a name that is not UTF-8: rename that, or choose another."
    return f"The folder '{folder}' cannot be written to ({error.strerror}): choose another."


def why_not(context: bpy.types.Context) -> str:
    """Why nothing can be rendered now, with the next step; empty where it can. Cheap enough for every redraw."""
    if sentence := scene_obstacle(context) or prompt_obstacle(context):
        return sentence
    if not context.scene.beyondscene.models:
        return "No models are chosen: name a model set under Picture, e.g. embedded"
    return planner.obstacle(context)


def scene_obstacle(context: bpy.types.Context) -> str:
    """The same of camera and people alone."""
    try:
        check_scene(context)
    except ExportError as error:
        return str(error)
    return ""


def prompt_obstacle(context: bpy.types.Context) -> str:
    """The same of the prompts: of the scene, and of whoever would be in the picture."""
    silent = [person for person in find_shown_enabled(context.view_layer) if not person.prompt.strip()]
    try:
        check_scene_prompt(said_by(context.scene.beyondscene))
        left_out = {one.id for one, _ in find_left_out(context)} if silent else set()
        for one in silent:
            if one.id not in left_out:
                check_prompt(one.prompt, one.name)
    except RequestError as error:
        return str(error)
    return ""


def make_jobs(context: bpy.types.Context) -> list[Job]:
    """The scene as it is posed now, once for each variation. Raises ExportError, RequestError or OSError."""
    own = context.scene.beyondscene
    request, arrays = export_request(context)
    deflated, blend = deflate(arrays), bpy.data.filepath
    remarks = remark_on_hidden(request, arrays)
    paths = images.next_paths(own.output_folder, own.file_format, own.variations, current().promised)
    return [
        Job(new_job_id(), path, replace(request, seed=request.seed + number), deflated, own.models, blend, remarks=remarks)
        for number, path in enumerate(paths)
    ]


def wait_for_picture() -> None:
    """Drain the queue until all jobs are over, printing what changes, or nothing could go on for `PATIENCE_S`.

    An interrupt cancels them and is an error of the session: let out of an operator, Blender would print it with its traceback.
    A second one does not wait until the backend has stopped.
    """
    session, printed, interrupted, went_on_s = current(), "", False, time.monotonic()
    while session.jobs and session.link.alive:
        try:
            session.tick()
            job, hindrance = session.job, session.hindrance
            if not hindrance:
                went_on_s = time.monotonic()
            elif time.monotonic() - went_on_s > PATIENCE_S:
                session.fail(f"{hindrance} A script waits no longer than {describe_seconds(PATIENCE_S)} for that to change.")
            if job and (hindrance or job.status) != printed:
                printed = hindrance or job.status
                print(f"{job.fraction:4.0%}  {printed}  {describe_remaining(job.remaining_s)}".rstrip(), flush=True)
            time.sleep(TICK_S / 2)
        except KeyboardInterrupt:
            if interrupted:
                session.stop()
            interrupted = True
            session.cancel()
    session.cancel()  # what waits for another backend: a script asks again
    if interrupted:
        session.problem = session.problem or Problem("picture", "Interrupted: the picture was cancelled.")


CLASSES = (
    BEYONDSCENE_OT_render,
    BEYONDSCENE_OT_cancel,
    BEYONDSCENE_OT_dismiss_error,
    BEYONDSCENE_OT_snap_size,
    BEYONDSCENE_OT_take_quality,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
