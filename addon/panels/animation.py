"""The scene's range of frames, each a picture of its own."""

import bpy

from .. import animation
from ..animation_operators import BEYONDSCENE_OT_render_animation
from ..planner import plan_of
from ..simulations import say_unbaked
from .picture import describe_time
from .sidebar import Section, draw_sentence


class BEYONDSCENE_PT_animation(Section, bpy.types.Panel):
    bl_label = "Animation"
    bl_order = 4
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, scene, recording = self.layout, context.scene, animation.recording()
        frames = animation.frames_of(scene)
        if recording:
            done = recording.total - len(recording.frames)
            layout.progress(factor=done / recording.total, text=f"Exported {done} of {recording.total} frames")
        else:
            told = f"Frames {scene.frame_start} to {scene.frame_end}, {len(frames)} pictures, from Output Properties"
            draw_sentence(layout.column(align=True), context, told)
        plan = plan_of(context)
        if plan and plan.seconds:
            draw_sentence(layout.column(align=True), context, describe_time(plan.seconds, len(frames)), "TIME")
        if unbaked := say_unbaked(context):
            draw_sentence(layout.column(align=True), context, unbaked, "ERROR")
        layout.operator(BEYONDSCENE_OT_render_animation.bl_idname, icon="RENDER_ANIMATION")
