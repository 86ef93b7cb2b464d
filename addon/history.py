"""Finished pictures: the Image datablocks of the add-on, what they say about their own making, and the way back to it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, get_args

import bpy
from bpy.props import EnumProperty

from ..protocol import Character, PartName, RenderRequest
from ..protocol.record import Record, inflate_one
from ..protocol.scene import BACKDROP
from . import images, thumbnails
from .exporters import ExportError, Person, add_backdrop, find_people
from .images import PictureRef, finished_pictures, path_of
from .loras import write_loras
from .quality import CUSTOM, write_knobs
from .session import current
from .texts import say

LARGEST_SEED = 2**31 - 1  # that a property of Blender holds; requests may have larger ones

Item = tuple[str, str, str, int, int]

_items: list[Item] = []  # Blender keeps no reference to the strings of an enumeration


def chosen() -> bpy.types.Image | None:
    """The one that the panel shows: the newest until another is chosen."""
    return current().picture.find() or next(reversed(finished_pictures()), None)


def choose_newest() -> None:
    """After a file was opened: whose file was written last, since names say nothing of that between two that count apart."""
    newest = max(finished_pictures(), key=lambda one: (written_s(one), one.name), default=None)
    current().picture = PictureRef.of(newest) if newest else PictureRef()


def written_s(image: bpy.types.Image) -> float:
    """When its file was, in seconds; 0 where that is gone."""
    try:
        return path_of(image).stat().st_mtime
    except OSError:
        return 0.0


def list_items(owner: object, context: bpy.types.Context | None) -> list[Item]:
    listed = ((number, one, path_of(one)) for number, one in enumerate(finished_pictures()))
    _items[:] = [
        (one.name, one.name.removeprefix(images.NAME), str(path), thumbnails.icon_of(path), number)
        for number, one, path in listed
    ]
    return _items


def get_number(owner: object) -> int:
    shown = chosen()
    return next((number for number, one in enumerate(finished_pictures()) if one == shown), 0)


def set_number(owner: object, number: int) -> None:
    current().picture = PictureRef.of(finished_pictures()[number])


class Unlike(NamedTuple):
    """Who is not as the picture has them after its settings were restored, by name.

    gone: who is no longer there. switched_off: who was, since the picture is without them. linked: whose library has the say.
    """

    gone: list[str]
    switched_off: list[str]
    linked: list[str]


def restore(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, record: Record, request: RenderRequest, *, is_frame: bool = False
) -> Unlike:
    """Give the scene the prompts and settings of a picture; poses and camera stay, and people who are linked.

    is_frame: it is one of an animation, whose others may have more people; these stay as they are.
    """
    own = scene.beyondscene
    say(own, request.prompt)
    own.negative_prompt, own.style = request.negative_prompt, request.style
    own.models = record.models
    own.use_own_size, own.width, own.height = True, request.width, request.height
    own.quality, own.variations = CUSTOM, 1
    own.seed, own.lock_seed = min(request.seed, LARGEST_SEED), True
    write_knobs(own.knobs, request.settings)
    write_loras(own.loras, request.loras)
    people = find_people(view_layer)
    found = recognise(people, request.characters)
    there = {one.id for one in found.values()}
    unlike = Unlike([one.name for one in request.characters if one.id not in there], [], [])
    kept = {person.described for person in people if person.id in found}  # who is described there, be it for several people
    drawn = {person.id for person in people if person.enabled}  # before any is switched, who may answer for others
    for person in people:
        character, described = found.get(person.id), person.described
        if character is None and (is_frame or described in kept):
            continue
        if not described.is_editable:
            unlike.linked.extend([person.name] if character or person.id in drawn else [])
        elif character is not None:
            describe(described.beyondscene, character)
            if person.armature not in kept and person.armature.is_editable:  # a blank of an instance is the rig's word
                silence(person.armature.beyondscene, character)
        else:
            unlike.switched_off.extend([person.name] if person.id in drawn else [])
            described.beyondscene.enabled = False
    return unlike


def restore_backdrop(scene: bpy.types.Scene, record: Record, request: RenderRequest, frame: int | None = None) -> None:
    """Let `scene` have the backdrop of a picture, and the image that it has where that is the same.

    frame: which the picture is of an animation. Raises WireError where the file does not hold it.
    """
    own = scene.beyondscene
    if request.backdrop is None:
        own.backdrop = None
        return
    there = None
    with suppress(ExportError):
        there = own.backdrop and add_backdrop(scene, request, frame)[0].backdrop
    if not there or there.image != request.backdrop.image:
        own.backdrop = images.from_array("Backdrop", inflate_one(BACKDROP, request.backdrop.image, request, record.arrays))
    own.backdrop_strength = request.backdrop.strength or 0


def describe(own: bpy.types.PropertyGroup, character: Character) -> None:
    """Let the settings of a person say what was said of `character`, who was drawn."""
    own.enabled = True
    say(own, character.prompt)
    own.negative_prompt = character.negative_prompt
    for part in get_args(PartName):
        setattr(own.parts, part, character.part_prompts.get(part, ""))
    write_loras(own.loras, character.loras)
    own.use_own_seed, own.seed = character.seed is not None, min(character.seed or 0, LARGEST_SEED)


def silence(own: bpy.types.PropertyGroup, character: Character) -> None:
    """Let the settings of a rig say nothing of what was not said of `character` either."""
    own.negative_prompt = own.negative_prompt if character.negative_prompt else ""
    for part in set(get_args(PartName)) - character.part_prompts.keys():
        setattr(own.parts, part, "")
    if not character.loras:
        write_loras(own.loras, ())
    own.use_own_seed = own.use_own_seed and character.seed is not None


def recognise(people: Sequence[Person], characters: Sequence[Character]) -> dict[str, Character]:
    """Which of `characters` each of `people` is, by the id of the person: that of the same id, or else, as after a rig was
    renamed, the only one of the same prompt.
    """
    ids = {one.id: one for one in characters}
    found = {one.id: ids[one.id] for one in people if one.id in ids}
    renamed = [one for one in people if one.id not in found and one.prompt]
    sought = [one for one in characters if one.id not in found]
    for person in renamed:
        alike = [one for one in sought if one.prompt == person.prompt]
        if len(alike) == 1 and [one.prompt for one in renamed].count(person.prompt) == 1:
            found[person.id] = alike[0]
    return found


def register() -> None:
    bpy.types.WindowManager.beyondscene_picture = EnumProperty(
        name="Picture", description="A finished picture", items=list_items, get=get_number, set=set_number
    )


def unregister() -> None:
    del bpy.types.WindowManager.beyondscene_picture
    _items.clear()
