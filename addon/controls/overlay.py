"""Controls over the camera view of the 3D viewport.

They follow the scenes that windows show, lazily: after a change the joints come first, which takes milliseconds; once it has
rested, the surfaces, at a low resolution and only where the last such look was quick. Drawing itself computes nothing.
"""

import math
import threading
import time
from typing import Any

import blf
import bpy
import gpu
import numpy as np
from bpy.app.handlers import persistent
from bpy_extras.view3d_utils import location_3d_to_region_2d
from gpu_extras.batch import batch_for_shader
from mathutils import Matrix

from ...protocol import DRAWN, Keypoint
from .. import blender_render, callbacks
from ..exporters import ExportError
from ..exporters.view import unproject
from ..viewports import redraw
from .picture import DIM, HOLE, tint_masks
from .snapshot import Controls, gather_controls
from .strokes import ellipse_axes, gather_strokes, line_width_px

FOLLOW_S = 0.1  # between two looks at a scene that changes
REST_S = 0.4  # without a change before the surfaces are looked at
LIMIT_S = 0.5  # that such a look may take; a slower scene is looked at only when asked for
GIVE_UP_S = 2.0  # after which it is broken off unless it was asked for
MASK_OPACITY = 0.35
CORNERS = 32  # of an ellipse

_ANGLES = np.linspace(0, 2 * np.pi, CORNERS + 1)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


class Overlay:
    """What is drawn of one view layer of a scene."""

    def __init__(self) -> None:
        self.controls: Controls | None = None
        self.error = ""  # why there are none
        self.slow_s = 0.0  # how long the last look at the surfaces took, or more, where that was too long
        self._batch: Any = None  # of the skeletons; None: to be made when drawn, since only then is there a GPU context
        self._texture: Any = None  # of the masks

    def take(self, context: bpy.types.Context, *, surfaces: bool, give_up_s: float = math.inf) -> None:
        """Look at the scene as it is now. give_up_s: after so long a look at the surfaces, show the joints alone."""
        self._batch = self._texture = None
        began = time.monotonic()
        try:
            controls = gather_controls(context, surfaces=surfaces, quick=True, deadline_s=began + give_up_s)
            self.controls, self.error = controls, ""
        except ExportError as error:
            self.controls, self.error = None, str(error)
        took = time.monotonic() - began
        if surfaces:
            self.slow_s = took if took > LIMIT_S else 0.0

    def draw(self, context: bpy.types.Context) -> None:
        """Draw into the region of `context`, a camera view."""
        controls = self.controls
        if controls is None or not controls.request.characters:
            return
        region_from_picture = find_frame(context, controls)
        if region_from_picture is None:
            return
        gpu.state.blend_set("ALPHA")
        with gpu.matrix.push_pop():
            gpu.matrix.multiply_matrix(region_from_picture)
            self._draw_masks(controls)
            if self._batch is None:
                self._batch = make_batch(controls)
            self._batch.draw(gpu.shader.from_builtin("SMOOTH_COLOR"))
        gpu.state.blend_set("NONE")
        draw_names(controls, region_from_picture)

    def _draw_masks(self, controls: Controls) -> None:
        if controls.sight is None:
            return
        if self._texture is None:
            self._texture = make_texture(controls)
        width, height = controls.request.width, controls.request.height
        shader = gpu.shader.from_builtin("IMAGE")
        content = {"pos": ((0, 0), (width, 0), (0, height), (width, height)), "texCoord": ((0, 0), (1, 0), (0, 1), (1, 1))}
        batch = batch_for_shader(shader, "TRI_STRIP", content)
        shader.bind()
        shader.uniform_sampler("image", self._texture)
        batch.draw(shader)


def find_frame(context: bpy.types.Context, controls: Controls) -> Matrix | None:
    """From px of the picture, y down, to px of the region, y up: both are the view of one camera, so scale and place do."""
    camera = controls.request.camera
    assert camera is not None
    world_from_camera = np.linalg.inv(np.reshape(camera.camera_from_world, (4, 4)))
    places = []
    for x, y in ((0, 0), (controls.request.width, controls.request.height)):
        ahead = np.append(unproject(camera, Keypoint(x=x, y=y, depth=1)), 1)
        world = (world_from_camera @ ahead)[:3] / context.scene.unit_settings.scale_length
        places.append(location_3d_to_region_2d(context.region, context.region_data, world))
    first, last = places
    if first is None or last is None:
        return None
    scale_x, scale_y = (last.x - first.x) / controls.request.width, (last.y - first.y) / controls.request.height
    return Matrix.Translation((first.x, first.y, 0)) @ Matrix.Diagonal((scale_x, scale_y, 1, 1))


def make_batch(controls: Controls) -> Any:
    """The skeletons as triangles in px of the picture, far to near; what is not seen is dim, and a ring where it is a joint."""
    places: list[np.ndarray] = [np.zeros((0, 2))]
    colours: list[np.ndarray] = [np.zeros((0, 4))]
    for _, character in controls.far_to_near():
        for stroke in gather_strokes(controls.request, character, controls.style, details=True):
            centre, along, across = ellipse_axes(stroke, line_width_px(controls.request, controls.style))
            rim = centre + _CIRCLE @ np.stack([along, across])
            ring = stroke.is_joint and not stroke.seen
            inner = centre + (rim - centre) * (HOLE if ring else 0)
            corners = np.stack([rim[:-1], rim[1:], inner[:-1], inner[:-1], rim[1:], inner[1:]], 1).reshape(-1, 2)
            places.append(corners)
            opacity = 1 if stroke.seen or ring else DIM
            colours.append(np.tile((*stroke.colour, opacity), (len(corners), 1)))
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    content = {"pos": np.concatenate(places).astype(np.float32), "color": np.concatenate(colours).astype(np.float32)}
    return batch_for_shader(shader, "TRIS", content)


def make_texture(controls: Controls) -> Any:
    """The masks in the colours of the people, clear elsewhere."""
    assert controls.sight is not None
    height, width = controls.sight.owner.shape
    colours = np.zeros((height, width, 3), np.float32)
    tint_masks(colours, controls, 1)
    opacity = np.where(colours.any(-1, keepdims=True), MASK_OPACITY, 0)
    pixels = np.concatenate([colours, opacity], -1).astype(np.float32)
    return gpu.types.GPUTexture((width, height), format="RGBA16F", data=gpu.types.Buffer("FLOAT", pixels.size, pixels.ravel()))


def draw_names(controls: Controls, region_from_picture: Matrix) -> None:
    """The number in depth, 1 the nearest, and the name of each person, above their highest joint."""
    blf.size(0, 13 * bpy.context.preferences.system.ui_scale)
    for number, (index, character) in enumerate(reversed(controls.far_to_near()), 1):
        top = min((joint for joint in character.keypoints if joint.state in DRAWN), key=lambda joint: joint.y)
        above = top.y - 2 * line_width_px(controls.request, controls.style)
        place = region_from_picture @ Matrix.Translation((top.x, above, 0))
        blf.position(0, place.translation.x, place.translation.y, 0)
        blf.color(0, *controls.colours[index], 1)
        blf.draw(0, f"{number}  {character.name}")


changed_s = 0.0  # when anything last changed, as of time.monotonic

_overlays: dict[tuple[int, str], Overlay] = {}  # by the session_uid of the scene and the view layer's name
_draw_handler: Any = None


def overlay_of(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> Overlay:
    return _overlays.setdefault((scene.session_uid, view_layer.name), Overlay())


def is_shown() -> bool:
    return bpy.context.window_manager is not None and bpy.context.window_manager.beyondscene_controls.overlay


def draw_in_viewport() -> None:
    """Blender's callback, once for each 3D viewport that it draws."""
    context = bpy.context
    space, view = context.space_data, context.region_data
    if not is_shown() or view is None or view.view_perspective != "CAMERA":
        return
    if space.overlay.show_overlays and not (space.use_local_camera and space.camera != context.scene.camera):
        overlay_of(context.scene, context.view_layer).draw(context)


@persistent
def forget(*_: object) -> None:
    """Where the scenes may be others by now."""
    _overlays.clear()


@persistent
def note_change(*_: object) -> None:
    """After an edit, another frame or the end of a playback: come back soon, and not in the midst of it.

    Frames of Blender's own render are told in the thread of that, where Blender's data must be left alone.
    """
    global changed_s
    if threading.current_thread() is not threading.main_thread() or not is_shown():
        return
    changed_s = time.monotonic()
    if not bpy.app.timers.is_registered(follow):
        bpy.app.timers.register(follow, first_interval=FOLLOW_S)


def follow() -> float | None:
    """The timer's body: of all that windows show, the joints while something changes, the surfaces once it rests."""
    if not is_shown():
        return None
    if blender_render.is_running():
        return blender_render.LOOK_S
    rests = time.monotonic() - changed_s >= REST_S and not is_playing()
    windows = {overlay_of(window.scene, window.view_layer): window for window in bpy.context.window_manager.windows}
    for overlay, window in windows.items():
        with bpy.context.temp_override(window=window):
            overlay.take(bpy.context, surfaces=rests and not overlay.slow_s, give_up_s=GIVE_UP_S)
    redraw()
    return None if rests or is_playing() else FOLLOW_S


def is_playing() -> bool:
    windows = bpy.context.window_manager.windows
    return any(window.screen.is_animation_playing for window in windows)


def handlers() -> list[callbacks.Handler]:
    lists = bpy.app.handlers
    changes = lists.depsgraph_update_post, lists.frame_change_post, lists.animation_playback_post, lists.load_post
    return [(lists.load_post, forget), *((one, note_change) for one in changes)]


def register() -> None:
    global _draw_handler
    callbacks.add(handlers())
    _draw_handler = bpy.types.SpaceView3D.draw_handler_add(draw_in_viewport, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    global _draw_handler
    if _draw_handler is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_draw_handler, "WINDOW")
    callbacks.remove(handlers())
    if bpy.app.timers.is_registered(follow):
        bpy.app.timers.unregister(follow)
    forget()
    _draw_handler = None
