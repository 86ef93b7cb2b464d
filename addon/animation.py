"""A range of frames, each a picture of its own: exported one per turn of a timer, so that Blender stays free."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ..protocol import RenderRequest, RequestError
from ..protocol.client import new_job_id
from ..protocol.record import RecordError, deflate
from . import blender_render, images, preferences, unkeyed_changes
from .exporters import ExportError, find_unposed, gather_request, see_people
from .frozen_settings import FrozenSettings
from .job import Job, remark_on_hidden
from .problem import Problem
from .session import current
from .ticker import wake
from .viewports import redraw_panels

TURN_S = 0.05  # between two exports; where they take longer, as long as they do, so that Blender has half of the time
WAIT_S = 0.5  # between two looks whether the next one can be made
FRAMES = 1000  # of one animation


@dataclass
class Recording:
    """What is still to be exported.

    scene: session_uid of the scene, by which it is known after an undo and whatever the windows show. view_layer: its name.
    settings: as it was when the artist began, whatever the scene says by now. suffix: of the files.
    """

    scene: int
    view_layer: str
    settings: FrozenSettings
    folder: Path
    suffix: str
    frames: list[int]
    total: int


_recording: Recording | None = None


def recording() -> Recording | None:
    return _recording


def frames_of(scene: bpy.types.Scene) -> range:
    return range(scene.frame_start, scene.frame_end + 1, scene.frame_step)


def start(context: bpy.types.Context) -> None:
    """Begin with the frames of the scene's range; `step` does one. Raises ExportError, and OSError where there is no place for
    them.
    """
    settings, own = FrozenSettings.of(context), context.scene.beyondscene
    begin(context, settings, images.next_sequence(own.output_folder), own.file_format, list(frames_of(context.scene)))


def start_missing(context: bpy.types.Context, path: Path) -> bool:
    """The same for those that are neither beside the frame `path` nor on their way there, asked for as those that are; False
    where none is missing. Raises RecordError or WireError where none says how it was made, and OSError where there is no place
    for them.
    """
    folder = path.parent
    try:
        there = images.frames_beside(path)
    except OSError as error:
        raise RecordError(f"The folder '{folder}' cannot be read ({error.strerror}): put it or its drive right.") from error
    on_their_way = (one for one in current().on_their_way if images.same_file(str(one.parent), str(folder)))
    known = {one.name for one in (*there, *on_their_way)}
    missing = [frame for frame in frames_of(context.scene) if frame_path(folder, frame, path.suffix).name not in known]
    if missing:
        begin(context, FrozenSettings.of_frames(there), images.output_place(str(folder)), path.suffix, missing)
    return bool(missing)


def begin(context: bpy.types.Context, settings: FrozenSettings, folder: Path, suffix: str, frames: list[int]) -> None:
    global _recording
    _recording = Recording(context.scene.session_uid, context.view_layer.name, settings, folder, suffix, frames, len(frames))


def frame_path(folder: Path, frame: int, suffix: str) -> Path:
    return folder / f"{frame:04d}{suffix}"


def step() -> bool:
    """Export the next frame and send it; False where there is none. The scene is at its own frame again when this returns, with
    what is not keyed yet. No frame is left to export after an error that nobody expected.
    """
    global _recording
    more = False
    try:
        more = _recording is not None and export_next(_recording)
    finally:
        if not more:
            _recording = None
    return more


def export_next(now: Recording) -> bool:
    """The same of `now`, which has frames left; whether it still has, and a backend to send them to."""
    session = current()
    view_layer = layer_of(now)
    if view_layer is None:
        words = f"or its view layer '{now.view_layer}' is renamed or gone: the frames that were not exported yet are left out."
        session.problem = Problem("picture", f"The scene was closed, {words}")
        return False
    frame, scene = now.frames.pop(0), view_layer.id_data
    try:
        with unkeyed_changes.kept(), at_frame(scene, frame), bpy.context.temp_override(scene=scene, view_layer=view_layer):
            request, arrays = export_frame(bpy.context, now.settings)
    except (ExportError, RequestError) as error:
        session.refuse(f"Frame {frame}: {error} The frames before it go on.")
        return False
    path = frame_path(now.folder, frame, now.suffix)
    hidden = remark_on_hidden(request, arrays)
    job = Job(new_job_id(), path, request, deflate(arrays), now.settings.models, bpy.data.filepath, remarks=hidden)
    session.render([job], preferences.get(bpy.context))
    return bool(now.frames) and session.link.alive


def layer_of(now: Recording) -> bpy.types.ViewLayer | None:
    """Of the scene that is exported; None where that was closed, or has others, which may show others."""
    scene = next((one for one in bpy.data.scenes if one.session_uid == now.scene), None)
    layers = scene.view_layers if scene else []
    return next((one for one in layers if one.name == now.view_layer or len(layers) == 1), None)


def export_frame(context: bpy.types.Context, settings: FrozenSettings) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The poses, masks and camera of the scene as it stands, and the rest as `settings`. Raises ExportError or RequestError."""
    width, height = settings.picture["width"], settings.picture["height"]
    return see_people(context, settings.put_into(gather_request(context, width=width, height=height, deserted=True)))


@contextmanager
def at_frame(scene: bpy.types.Scene, frame: int) -> Iterator[None]:
    shown, subframe, camera = scene.frame_current, scene.frame_subframe, scene.camera
    selected = [(layer, thing) for layer in scene.view_layers for thing in layer.objects.selected]
    scene.frame_set(frame)
    try:
        yield
    finally:
        scene.frame_set(shown, subframe=subframe)
        scene.camera = camera  # where a marker says another one
        for layer, thing in selected:
            if not thing.select_get(view_layer=layer):  # as of what is hidden at `frame`
                thing.select_set(True, view_layer=layer)


def cancel() -> None:
    """Export no more frames."""
    global _recording
    _recording = None
    if bpy.app.timers.is_registered(turn):
        bpy.app.timers.unregister(turn)


def obstacle() -> str:
    """What the frames that are left wait for; empty where they need not wait, or where none are left."""
    now = _recording
    if now and blender_render.is_running():
        return "Blender renders: the other frames are exported when it is done"
    if now and (layer := layer_of(now)) and (edited := find_unposed(layer)):
        mode = edited.mode.capitalize()
        return f"'{edited.name}' is in {mode} Mode, where it has no pose: leave that mode, and the other frames are exported"
    if now and len(now.frames) < now.total and not current().link.alive:  # the first one starts it
        return "The backend is off: start it, and the other frames are exported"
    return ""


def take_turns() -> None:
    """Export the frames while Blender stays free."""
    if not bpy.app.timers.is_registered(turn):
        bpy.app.timers.register(turn, persistent=True)


def turn() -> float | None:
    """The timer's body."""
    if obstacle():
        redraw_panels()
        return WAIT_S
    began_s = time.monotonic()
    frame = _recording.frames[0] if _recording else 0
    try:
        more = step()
    except Exception as error:  # Blender would end the timer in silence
        current().note_fault(f"The export of frame {frame}", error)
        more = False
    wake()
    redraw_panels()
    return max(TURN_S, time.monotonic() - began_s) if more else None


def register() -> None:
    pass


def unregister() -> None:
    cancel()
