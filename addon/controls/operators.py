"""The buttons of the panel *Controls*."""

# pyright: reportInvalidTypeForm=false

from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ...protocol import openpose_json
from ..editors import free_editors, show
from ..exporters import ExportError
from ..images import fill
from ..obstacles import SaysWhyNot
from ..operators import scene_obstacle
from ..viewports import redraw
from . import overlay
from .picture import draw_controls
from .snapshot import gather_controls

IMAGE = "BeyondScene: Controls"
POSES = "BeyondScene: Poses"

Result = set[str]


class ReadsScene(SaysWhyNot):
    """An operator that needs a camera and somebody to look at."""

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return scene_obstacle(context)


class BEYONDSCENE_OT_preview_controls(ReadsScene, bpy.types.Operator):
    """Draw the skeletons, masks and depth that a render would send, as an image"""

    bl_idname = "beyondscene.preview_controls"
    bl_label = "Preview Controls"

    def execute(self, context: bpy.types.Context) -> Result:
        try:
            controls = gather_controls(context)
        except ExportError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        image = show_picture(draw_controls(controls, context.window_manager.beyondscene_controls.kind))
        if controls.refusal:
            self.report({"WARNING"}, controls.refusal)
        elif not free_editors():
            self.report({"INFO"}, f"No Image Editor is free: open one and choose '{image.name}'")
        return {"FINISHED"}


class BEYONDSCENE_OT_refresh_controls(ReadsScene, bpy.types.Operator):
    """Look at the surfaces again, also where that takes a while"""

    bl_idname = "beyondscene.refresh_controls"
    bl_label = "Refresh Overlay"

    def execute(self, context: bpy.types.Context) -> Result:
        overlay.overlay_of(context.scene, context.view_layer).take(context, surfaces=True)
        redraw()
        return {"FINISHED"}


class BEYONDSCENE_OT_save_openpose(ReadsScene, ExportHelper, bpy.types.Operator):
    """Write everybody's joints as OpenPose does, and their skeletons as a picture beside it, for other programs"""

    bl_idname = "beyondscene.save_openpose"
    bl_label = "Save OpenPose JSON and PNG"
    filename_ext = ".json"

    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})
    model: EnumProperty(
        name="Body",
        description="Which joints of the body are written; hands and faces are in any case",
        items=(
            ("COCO_18", "COCO, 18 Joints", "As ControlNets know it"),
            ("BODY_25", "BODY_25", "With toes and heels, and the middle of the hips"),
        ),
    )

    def execute(self, context: bpy.types.Context) -> Result:
        path = Path(bpy.path.abspath(self.filepath))
        picture = path.with_suffix(".openpose.png")  # no name that a render may have: the file browser asks about the JSON only
        try:
            controls = gather_controls(context)
            people = [character.id for _, character in reversed(controls.far_to_near())]
            path.write_bytes(openpose_json(controls.request, people, self.model))
            save_picture(draw_controls(controls, "POSE"), picture)
        except ExportError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except (OSError, RuntimeError) as error:
            self.report(
                {"ERROR"}, f"The poses cannot be saved at {path}: {error}. Choose another folder, or make room on the disk."
            )
            return {"CANCELLED"}
        self.report({"INFO"}, f"{path.name} and {picture.name}: {len(people)} people")
        return {"FINISHED"}


def show_picture(picture: np.ndarray) -> bpy.types.Image:
    """`picture`, (height, width, 3) with row 0 at the top, as an Image datablock, shown in the Image Editors that are free."""
    height, width = picture.shape[:2]
    image = bpy.data.images.get(IMAGE) or bpy.data.images.new(IMAGE, width, height)
    resized = tuple(image.size) != (width, height)
    if resized:
        image.scale(width, height)
    fill(image, picture)
    image.update()
    image.pack()  # or Blender would ask at its end whether to save it, and keep it black where one says no
    show(image, resized=resized)
    return image


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write `picture`, (height, width, 3) with row 0 at the top, as it is on the screen. RuntimeError where it cannot be."""
    height, width = picture.shape[:2]
    image = bpy.data.images.new(POSES, width, height)
    try:
        fill(image, picture)
        image.filepath_raw, image.file_format = str(path), "PNG"
        image.save()
    finally:
        bpy.data.images.remove(image)
