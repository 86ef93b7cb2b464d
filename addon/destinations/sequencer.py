"""The video sequencer: a strip at the current frame, in a channel of its own. What a render shows stays what it was."""

from pathlib import Path
from typing import Any

import bpy

from ..images import frames_beside, tell_srgb

LABEL, ICON, WHAT = "Sequencer", "SEQUENCE", "Add a strip with it at the current frame, above the others"


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    scene = context.scene
    editor: Any = scene.sequence_editor or scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # before Blender 4.4
    takes_over = scene.render.use_sequencer and not len(strips)  # from its first strip on it is what Blender renders
    channel = max((one.channel for one in strips), default=0) + 1
    path = Path(bpy.path.abspath(image.filepath))
    strip = strips.new_image(image.name, image.filepath, channel, scene.frame_current, fit_method="FIT")
    if image.source == "SEQUENCE":
        for frame in frames_beside(path)[1:]:
            strip.elements.append(frame.name)
    tell_srgb(strip.colorspace_settings)
    done = f"The strip '{strip.name}' is in channel {channel}"
    if not takes_over:
        return done
    scene.render.use_sequencer = False
    return f"{done}; to render it, switch on Output Properties > Post Processing > Sequencer"
