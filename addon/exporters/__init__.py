"""A scene as a render request: one file per concern, `gather_*` for each part. Nothing here changes the scene."""

import math

import bpy
import numpy as np

from ...protocol import RenderRequest, check_request
from ..loras import gather_loras
from ..quality import chosen_settings, limited_size
from ..texts import said_by
from .backdrop import add_backdrop, announce_backdrop
from .camera import check_camera, gather_view
from .characters import gather_character, gather_keypoints
from .errors import ExportError
from .leaders import PICTURE_PLANE, find_unposed
from .passes import Passes, gather_passes, write_passes
from .people import Person, chosen_people, find_enabled, find_people
from .rigs import best_match, detect, load_families
from .shown import find_once, find_shown, find_shown_enabled, note_drawn
from .sight import Sight, add_sight, look
from .view import View

__all__ = [
    "PICTURE_PLANE",
    "ExportError",
    "Passes",
    "Person",
    "Sight",
    "add_backdrop",
    "add_sight",
    "best_match",
    "check_camera",
    "check_scene",
    "detect",
    "export_request",
    "find_enabled",
    "find_left_out",
    "find_people",
    "find_shown",
    "find_shown_enabled",
    "find_unposed",
    "gather_passes",
    "gather_request",
    "load_families",
    "look_at",
    "note_drawn",
    "people_of",
    "picture_size",
    "see_people",
    "write_passes",
]


def export_request(
    context: bpy.types.Context,
    *,
    width: int | None = None,
    height: int | None = None,
    seed: int | None = None,
    deserted: bool = False,
) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The scene of `context` as it is posed now, with its prompts and quality, and its arrays by digest; a given
    size or seed overrides the scene's own. find_left_out says who is not in it.

    deserted: also without anybody, as in those frames of an animation before somebody comes in.
    Raises ExportError or RequestError, whose message names the thing, the rule and the next step.
    """
    return see_people(context, gather_request(context, width=width, height=height, seed=seed, deserted=deserted))


def see_people(context: bpy.types.Context, request: RenderRequest) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """`request`, of the scene as it is posed now, with its backdrop, masks and hidden joints, and the arrays by digest.

    Raises ExportError or RequestError.
    """
    check_request(request)  # before the surfaces, which take longest
    request, backdrop = add_backdrop(context.scene, request)
    request, masks = add_sight(request, look_at(context, request))
    return request, masks | backdrop


def gather_request(
    context: bpy.types.Context,
    *,
    width: int | None = None,
    height: int | None = None,
    seed: int | None = None,
    deserted: bool = False,
) -> RenderRequest:
    """The same before anybody looked at the meshes: without masks, no joint is occluded, and no rule was checked. Nor has
    anybody looked at the backdrop.

    Raises ExportError.
    """
    scene, depsgraph, view = context.scene, context.evaluated_depsgraph_get(), view_of(context, width, height)
    people = find_enabled(context.view_layer) if deserted else chosen_people(scene, find_people(context.view_layer))
    everybody = [gather_character(person, depsgraph, view) for person in people]
    characters = tuple(character for character in everybody if not view.why_unseen(character.keypoints))
    if not characters and not deserted:
        first = everybody[0]
        others = f", and {len(everybody) - 1} more are not in it either" if len(everybody) > 1 else ""
        raise ExportError(
            f"Nobody would be in the picture: '{first.name}' {view.why_unseen(first.keypoints)}{others}. "
            "Move the rigs or the camera, or choose a larger picture."
        )
    return RenderRequest(
        width=view.width,
        height=view.height,
        seed=scene.beyondscene.seed if seed is None else seed,
        prompt=said_by(scene.beyondscene),
        negative_prompt=scene.beyondscene.negative_prompt,
        style=scene.beyondscene.style,
        backdrop=announce_backdrop(scene, view.width, view.height),
        camera=view.camera,
        characters=characters,
        settings=chosen_settings(scene.beyondscene),
        loras=gather_loras(scene.beyondscene.loras, "the scene"),
    )


def find_left_out(
    context: bpy.types.Context, *, width: int | None = None, height: int | None = None
) -> list[tuple[Person, str]]:
    """Who is switched on, and yet not in the picture as the scene is posed now, and why, to be read after a name.

    Raises ExportError where there is no camera.
    """
    depsgraph, view = context.evaluated_depsgraph_get(), view_of(context, width, height)
    people = tuple(find_shown_enabled(context.view_layer))

    def find() -> list[tuple[Person, str]]:
        reasons = [(person, view.why_unseen(gather_keypoints(person, depsgraph, view))) for person in people]
        return [(person, why) for person, why in reasons if why]

    return find_once(context.view_layer, (view, people), find)


def view_of(context: bpy.types.Context, width: int | None, height: int | None) -> View:
    """Of the picture of `context`, or of one of the given size. Raises ExportError where there is no camera."""
    check_quality(context.scene)
    own_width, own_height = picture_size(context.scene)
    return gather_view(context.scene, context.evaluated_depsgraph_get(), width or own_width, height or own_height)


def people_of(context: bpy.types.Context, request: RenderRequest) -> list[Person]:
    """Whom the characters of `request` are, which gather_request made of the same `context`, in their order."""
    ids = {character.id for character in request.characters}
    return [person for person in find_enabled(context.view_layer) if person.id in ids]


def look_at(
    context: bpy.types.Context, request: RenderRequest, divisor: int | None = None, deadline_s: float = math.inf
) -> Sight:
    """What the camera sees of the people of `request`, which gather_request made of the same `context`; see look."""
    scene, people = context.scene, people_of(context, request)
    depsgraph = context.evaluated_depsgraph_get()
    return look(scene, context.view_layer, depsgraph, people, request.width, request.height, divisor, deadline_s)


def check_scene(context: bpy.types.Context) -> None:
    """Raise ExportError where `context` has no camera or no armature, or somebody without a pose; cheap enough to redraw."""
    check_camera(context.scene)
    check_quality(context.scene)
    if edited := find_unposed(context.view_layer):
        mode = edited.mode.capitalize()
        raise ExportError(f"'{edited.name}' is in {mode} Mode, where Blender shows it without its pose: leave that mode first.")
    chosen_people(context.scene, find_shown(context.view_layer))


def check_quality(scene: bpy.types.Scene) -> None:
    """Raise ExportError where a later version of the add-on saved one that this version lacks."""
    if not scene.beyondscene.quality:
        raise ExportError("The scene's quality is of a later version: choose another under Picture, or update BeyondScene.")


def picture_size(scene: bpy.types.Scene) -> tuple[int, int]:
    """Width and height in px of the picture: the scene's own, or those of its render settings, within the quality's limit."""
    settings, render = scene.beyondscene, scene.render
    if settings.use_own_size:
        return limited_size(settings, settings.width, settings.height)
    percentage = render.resolution_percentage  # in whole numbers, as Blender does: of 800 px, a float of 57 % leaves 455
    return limited_size(settings, render.resolution_x * percentage // 100, render.resolution_y * percentage // 100)
