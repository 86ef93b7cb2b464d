"""The video sequencer: a strip at the current frame, in a channel of its own. What a render shows stays what it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy

from ..images import frames_beside, path_of, say_gone, tell_colours
from .errors import DestinationError, check_kept

LABEL, ICON, WHAT = "Sequencer", "SEQUENCE", "Add a strip with it at the current frame, above the others"
STILL_FRAMES = 25  # of a single picture, as in Blender's own Add > Image
CHANNELS = 128  # that Blender has; a strip for a higher one goes into the last, to where that is free
LONGEST_FRAMES = 5000  # of a strip, which takes Blender two seconds, and four times as long for twice as many


def place(context: bpy.types.Context, image: bpy.types.Image) -> str:
    scene, path = shown_scene(context), path_of(image)
    check_kept(scene)
    if not path.exists():  # packed, and a strip reads files
        raise DestinationError(say_gone(image))
    names = hold(frames_beside(path)) if image.source == "SEQUENCE" else [path.name]
    editor: Any = scene.sequence_editor or scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # before Blender 4.4
    takes_over = scene.render.use_sequencer and not any(is_rendered(editor, one) for one in strips)
    channel = max((one.channel for one in strips), default=0) + 1
    if channel > CHANNELS:
        raise DestinationError(
            f"No channel above the strips of the scene '{scene.name}' is left: move those in {CHANNELS} down."
        )
    file = image.filepath if image.library is None else str(path)  # which may be relative to the library
    strip = strips.new_image(image.name, file, channel, scene.frame_current, fit_method="FIT")
    strip.elements[0].filename = names[0]  # an earlier frame may have come since the image was made
    for name in names[1:]:
        strip.elements.append(name)
    if image.source != "SEQUENCE":
        setattr(strip, "duration" if hasattr(strip, "duration") else "frame_final_duration", STILL_FRAMES)  # before Blender 5.1
    tell_colours(strip.colorspace_settings, path)
    show_sequence_of(scene)
    done = f"The strip '{strip.name}' is in channel {channel} of the scene '{scene.name}'"
    if not takes_over:
        return done
    scene.render.use_sequencer = False
    return f"{done}; to render it, switch on Output Properties > Post Processing > Sequencer"


def is_rendered(editor: Any, strip: Any) -> bool:
    """Whether Blender renders the strips in place of the scene for this one, as for any that is seen."""
    return strip.type != "SOUND" and not strip.mute and not editor.channels[strip.channel].mute


def hold(frames: Sequence[Path]) -> list[str]:
    """Name of the file for each frame from the first of `frames` to the last: where one is missing, that before it.

    Raises DestinationError where there are too many.
    """
    numbers = [int(one.stem) for one in frames]
    total = numbers[-1] + 1 - numbers[0]
    if total > LONGEST_FRAMES:
        raise DestinationError(
            f"It reaches over {total} frames, and a strip that is added here over {LONGEST_FRAMES} at most: add its files in "
            "parts, with Add > Image/Sequence in the Sequencer."
        )
    lengths = [after - number for number, after in zip(numbers, [*numbers[1:], numbers[-1] + 1], strict=True)]
    return [one.name for one, length in zip(frames, lengths, strict=True) for _ in range(length)]


def shown_scene(context: bpy.types.Context) -> bpy.types.Scene:
    """The scene that the workspace's Sequencer shows, from Blender 5.0 on one that is chosen there, or else the window's."""
    return getattr(context.workspace, "sequencer_scene", None) or context.scene


def show_sequence_of(scene: bpy.types.Scene) -> None:
    """In each workspace where none was chosen yet, as Blender asks for from 5.0 on: else no editor shows the strip."""
    workspaces: list[Any] = list(bpy.data.workspaces)
    for one in workspaces:
        if getattr(one, "sequencer_scene", scene) is None:
            one.sequencer_scene = scene
