"""What an artist can do: render, cancel, start and stop the backend."""

# pyright: reportInvalidTypeForm=false

import time

import bpy
from bpy.props import BoolProperty

from ..protocol import RequestError
from . import images, preferences
from .exporters import ExportError, check_scene, export_request
from .session import TICK_S, current, describe_remaining, wake

Result = set[str]


class BEYONDSCENE_OT_render(bpy.types.Operator):
    """Send the posed scene to the backend and bring the picture back"""

    bl_idname = "beyondscene.render"
    bl_label = "Render Picture"

    wait: BoolProperty(
        name="Wait", description="Return only when the picture is here, for scripts", options={"HIDDEN", "SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if current().job:
            cls.poll_message_set("A picture is being rendered: wait for it or cancel it")
            return False
        try:
            check_scene(context)
        except ExportError as error:
            cls.poll_message_set(str(error))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        session, settings = current(), context.scene.beyondscene
        try:
            request, arrays = export_request(context)
            path = images.next_path(settings.output_folder)
        except (ExportError, RequestError) as error:
            session.error = str(error)
        except OSError as error:
            session.error = f"The folder '{settings.output_folder}' cannot be written to ({error.strerror}): choose another."
        else:
            session.render(request, arrays, settings.models, path, preferences.get(context))
            wake()
            if self.wait:
                wait_for_picture()
        if session.error:
            self.report({"ERROR"}, session.error)
            return {"CANCELLED"}
        return {"FINISHED"}


class BEYONDSCENE_OT_cancel(bpy.types.Operator):
    """Stop the picture that is being rendered"""

    bl_idname = "beyondscene.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = current().job
        if job is None or job.cancelling:
            cls.poll_message_set("The picture is being cancelled already" if job else "No picture is being rendered")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        current().cancel()
        return {"FINISHED"}


class BEYONDSCENE_OT_start_backend(bpy.types.Operator):
    """Start the render backend, or connect to the one of the preferences"""

    bl_idname = "beyondscene.start_backend"
    bl_label = "Start Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if current().alive:
            cls.poll_message_set("The backend runs already")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        session = current()
        session.start(preferences.get(context))
        if session.error:
            self.report({"ERROR"}, session.error)
            return {"CANCELLED"}
        wake()
        return {"FINISHED"}


class BEYONDSCENE_OT_stop_backend(bpy.types.Operator):
    """Stop the backend that was started from here, and with it the picture under way"""

    bl_idname = "beyondscene.stop_backend"
    bl_label = "Stop Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not current().alive:
            cls.poll_message_set("No backend runs")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        current().stop()
        return {"FINISHED"}


def wait_for_picture() -> None:
    """Drain the queue until the job is over, printing what changes; an interrupt cancels the job and goes on."""
    session, printed = current(), ""
    try:
        while session.job:
            session.tick()
            job = session.job
            if job and job.status != printed:
                printed = job.status
                print(f"{job.fraction:4.0%}  {printed}  {describe_remaining(job.remaining_s)}".rstrip(), flush=True)
            time.sleep(TICK_S / 2)
    except KeyboardInterrupt:
        session.cancel()
        raise


CLASSES = (BEYONDSCENE_OT_render, BEYONDSCENE_OT_cancel, BEYONDSCENE_OT_start_backend, BEYONDSCENE_OT_stop_backend)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
