"""Rendering the scene's range of frames."""

# pyright: reportInvalidTypeForm=false

import bpy

from ..protocol import WireError
from ..protocol.record import RecordError
from . import animation, blender_render, history, images
from .exporters import ExportError
from .history_operators import OnPicture
from .obstacles import SaysWhyNot
from .operators import BEYONDSCENE_OT_render, Waits, outcome, say_unwritable, scene_obstacle, wait_for_picture, why_not
from .session import current

Result = set[str]


class BEYONDSCENE_OT_render_animation(SaysWhyNot, Waits, bpy.types.Operator):
    """Render every frame of the scene's range as a picture of its own, all from the same seed"""

    bl_idname = "beyondscene.render_animation"
    bl_label = "Render Animation"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return range_obstacle(context) or why_not(context)

    def execute(self, context: bpy.types.Context) -> Result:
        session, folder = current(), context.scene.beyondscene.output_folder
        session.problem = None
        try:
            animation.start(context)
        except ExportError as error:
            session.refuse(str(error))
        except OSError as error:
            session.refuse(say_unwritable(folder, error))
        else:
            go_on(wait=self.wait)
        return outcome(self)


class BEYONDSCENE_OT_render_missing(OnPicture, Waits, bpy.types.Operator):
    """Render those frames of the scene's range that this animation lacks, with the prompts and settings of those that it has"""

    bl_idname = "beyondscene.render_missing"
    bl_label = "Render Missing Frames"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        if sentence := super().obstacle(context):
            return sentence
        image = history.chosen()
        if image is None or image.source != "SEQUENCE":
            return "This picture is no animation: choose one"
        return range_obstacle(context) or scene_obstacle(context)  # size, models and LoRAs are those of its frames

    def execute(self, context: bpy.types.Context) -> Result:
        session, image = current(), history.chosen()
        session.problem = None
        assert image  # polled
        path = images.path_of(image)
        try:
            if not animation.start_missing(context, path):
                self.report({"INFO"}, "It has, or will have, all frames of the scene's range")
                return {"CANCELLED"}
        except (RecordError, WireError) as error:
            session.refuse(str(error))
        except OSError as error:
            session.refuse(say_unwritable(str(path.parent), error))
        else:
            go_on(wait=self.wait)
        return outcome(self)


def range_obstacle(context: bpy.types.Context) -> str:
    """Why the scene's frames cannot be exported now; empty where they can."""
    frames = len(animation.frames_of(context.scene))
    if frames > animation.FRAMES:
        return f"{frames} frames are more than the {animation.FRAMES} that are rendered at once: shorten the range"
    if animation.recording():
        return "Frames of an animation are still being exported: wait until they are, or cancel it"
    if blender_render.is_running():
        return "Blender renders, and counts the frames itself: wait until it is done"
    return ""


def go_on(*, wait: bool) -> None:
    """Export the frames of the recording that has begun; return when their pictures are here, or at once."""
    if not wait:
        animation.take_turns()
        return
    while animation.step() and not current().error:
        pass
    wait_for_picture()


CLASSES = (BEYONDSCENE_OT_render_animation, BEYONDSCENE_OT_render_missing)
register_classes, unregister_classes = bpy.utils.register_classes_factory(CLASSES)


def draw_entries(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Which Blender's search (F3) finds, too: it looks through menus, not panels."""
    menu.layout.separator()
    for one, icon in ((BEYONDSCENE_OT_render, "RENDER_STILL"), (BEYONDSCENE_OT_render_animation, "RENDER_ANIMATION")):
        menu.layout.operator(one.bl_idname, text=f"BeyondScene: {one.bl_label}", icon=icon)


def register() -> None:
    register_classes()
    bpy.types.TOPBAR_MT_render.append(draw_entries)


def unregister() -> None:
    bpy.types.TOPBAR_MT_render.remove(draw_entries)
    unregister_classes()
