"""A scene as a render request: one file per concern, `gather_*` for each part. Nothing here changes the scene."""

import bpy
import numpy as np

from ...protocol import RenderRequest, check_request
from ..loras import gather_loras
from ..quality import chosen_settings, limited_size
from .camera import check_camera, gather_camera
from .characters import gather_characters
from .errors import ExportError
from .passes import Passes, gather_passes, write_passes
from .people import Person, chosen_people, find_people
from .rigs import best_match, detect, load_families
from .sight import Sight, add_sight, look

__all__ = [
    "ExportError",
    "Passes",
    "Person",
    "Sight",
    "add_sight",
    "best_match",
    "check_scene",
    "detect",
    "export_request",
    "find_people",
    "gather_passes",
    "gather_request",
    "load_families",
    "look_at",
    "picture_size",
    "write_passes",
]


def export_request(
    context: bpy.types.Context, *, width: int | None = None, height: int | None = None, seed: int | None = None
) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The scene of `context` as it is posed now, with its prompts and quality, and the masks of its people by digest; a given
    size or seed overrides the scene's own.

    Raises ExportError or RequestError, whose message names the thing, the rule and the next step.
    """
    request = gather_request(context, width=width, height=height, seed=seed)
    check_request(request)  # before the surfaces, which take longest
    return add_sight(request, look_at(context, request))


def gather_request(
    context: bpy.types.Context, *, width: int | None = None, height: int | None = None, seed: int | None = None
) -> RenderRequest:
    """The same before anybody looked at the meshes: without masks, no joint is occluded, and no rule was checked.

    Raises ExportError.
    """
    scene, depsgraph = context.scene, context.evaluated_depsgraph_get()
    scene_width, scene_height = picture_size(scene)
    width, height = width or scene_width, height or scene_height
    people = chosen_people(scene, context.view_layer)
    camera = gather_camera(scene, depsgraph, width, height)
    return RenderRequest(
        width=width,
        height=height,
        seed=scene.beyondscene.seed if seed is None else seed,
        prompt=scene.beyondscene.prompt,
        negative_prompt=scene.beyondscene.negative_prompt,
        camera=camera,
        characters=gather_characters(people, scene, depsgraph, camera, width, height),
        settings=chosen_settings(scene.beyondscene),
        loras=gather_loras(scene.beyondscene.loras, "the scene"),
    )


def look_at(context: bpy.types.Context, request: RenderRequest, divisor: int | None = None) -> Sight:
    """What the camera sees of the people of `request`, which gather_request made of the same `context`; see look."""
    scene, view_layer = context.scene, context.view_layer
    people = chosen_people(scene, view_layer)
    return look(scene, view_layer, context.evaluated_depsgraph_get(), people, request.width, request.height, divisor)


def check_scene(context: bpy.types.Context) -> None:
    """Raise ExportError where `context` has no camera or no armature; cheap enough for every redraw."""
    check_camera(context.scene)
    chosen_people(context.scene, context.view_layer)


def picture_size(scene: bpy.types.Scene) -> tuple[int, int]:
    """Width and height in px of the picture: the scene's own, or those of its render settings, within the quality's limit."""
    own, render = scene.beyondscene, scene.render
    if own.use_own_size:
        return limited_size(own, own.width, own.height)
    scale = render.resolution_percentage / 100
    return limited_size(own, int(render.resolution_x * scale), int(render.resolution_y * scale))
