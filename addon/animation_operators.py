"""Rendering the scene's range of frames."""

# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import BoolProperty

from . import animation, blender_render
from .exporters import ExportError
from .obstacles import SaysWhyNot
from .operators import outcome, say_unwritable, wait_for_picture, why_not
from .session import current

Result = set[str]


class BEYONDSCENE_OT_render_animation(SaysWhyNot, bpy.types.Operator):
    """Render every frame of the scene's range as a picture of its own, all from the same seed"""

    bl_idname = "beyondscene.render_animation"
    bl_label = "Render Animation"

    wait: BoolProperty(
        name="Wait", description="Return only when the pictures are here, for scripts", options={"HIDDEN", "SKIP_SAVE"}
    )

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        frames = len(animation.frames_of(context.scene))
        if frames > animation.FRAMES:
            return f"{frames} frames are more than the {animation.FRAMES} that are rendered at once: shorten the range"
        if animation.recording():
            return "Frames of an animation are still being exported: wait until they are, or cancel it"
        if blender_render.is_running():
            return "Blender renders, and counts the frames itself: wait until it is done"
        return why_not(context)

    def execute(self, context: bpy.types.Context) -> Result:
        session, folder = current(), context.scene.beyondscene.output_folder
        session.error = ""
        try:
            animation.start(context)
        except ExportError as error:
            session.refuse(str(error))
        except OSError as error:
            session.refuse(say_unwritable(folder, error))
        else:
            if self.wait:
                while animation.step() and not session.error:
                    pass
                wait_for_picture()
            else:
                bpy.app.timers.register(animation.turn, persistent=True)
        return outcome(self)


register, unregister = bpy.utils.register_classes_factory((BEYONDSCENE_OT_render_animation,))
