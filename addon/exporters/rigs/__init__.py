"""Which bone of an armature is which joint: by the names of a rig family, else by its shape, and as the artist corrects it.

To add a family, write a table like `families/mixamo.toml`.
"""

import re
from collections.abc import Hashable
from functools import lru_cache

import bpy
import numpy as np

from ..errors import ExportError
from .family import CORRECTABLE, LIMBS, Anchor, Family, Match, load_families, match_family
from .humanoid import match_humanoid
from .shape import RestBone, guess_by_shape, rests_upright

MIN_COVERAGE = 0.5  # below this a rig is something else, e.g. a car that happens to have a bone `head`

__all__ = [
    "CORRECTABLE",
    "MIN_COVERAGE",
    "Anchor",
    "Family",
    "Match",
    "best_match",
    "check_corrections",
    "detect",
    "gather_corrections",
    "gather_rest_bones",
    "load_families",
    "match_names",
    "rests_upright",
    "spoken",
]


def best_match(armature: bpy.types.Object) -> Match:
    """What is found of `armature`, however little: what a VRM model says itself, the best family, its shape where none fits or
    one lacks joints, then the corrections.
    """
    bones = armature.data.bones
    match = match_humanoid(armature.data)
    if match is None or match.coverage < MIN_COVERAGE:
        match = match_names(tuple(bones.keys()))
    if match.limbs_found < len(LIMBS) and (guess := guess_by_shape(gather_rest_bones(armature))):
        match = guess if match.coverage < MIN_COVERAGE else match.complete(guess)
    corrections = gather_corrections(armature)
    return match.correct({role: anchor for role, anchor in corrections.items() if anchor.bone in bones})


def detect(armature: bpy.types.Object) -> Match:
    """The same, or an ExportError: where it covers less than MIN_COVERAGE, or a correction names a bone that is gone."""
    check_corrections(armature)
    match = best_match(armature)
    if match.coverage < MIN_COVERAGE:
        raise ExportError(
            f"The bones of '{armature.name}' match no rig family ({len(load_families())} tried; the best, {match.label}, "
            f"covers {match.coverage:.0%}), nor do they have the shape of a person: name its joints in the panel under Joints, "
            "or switch it off in the list if it is no person."
        )
    return match


@lru_cache(maxsize=256)  # the panel asks again at every redraw
def match_names(bone_names: tuple[str, ...]) -> Match:
    """The family that covers most of its joints, however few; where two are level, the one with more of its marks."""
    matches = [match_family(family, bone_names) for family in load_families()]
    return max(matches, key=lambda found: (found[0].coverage, found[1]))[0]


def gather_rest_bones(armature: bpy.types.Object) -> tuple[RestBone, ...]:
    """The deforming bones in the rest pose, parents before children; all bones where none deforms."""
    bones = armature.data.bones
    places, deform = np.empty((3, 3 * len(bones)), np.float32), np.empty(len(bones), bool)
    # `head` is told from the parent: with it, all that is read of the bones shows in these
    for name, values in zip(("head_local", "tail_local", "head", "use_deform"), (*places, deform), strict=True):
        bones.foreach_get(name, values)
    return read_rest_bones(armature.data, (*bones.keys(), places.tobytes(), deform.tobytes()))


@lru_cache(maxsize=64)  # animals and machines are asked about at every redraw, and may have many hundred bones
def read_rest_bones(armature: bpy.types.Armature, state: Hashable) -> tuple[RestBone, ...]:
    """The same. state: by which a change of the bones is known."""
    bones = [bone for bone in armature.bones if bone.use_deform] or list(armature.bones)
    index = {bone.name: number for number, bone in enumerate(bones)}

    def find_above(bone: bpy.types.Bone) -> int | None:
        above = bone.parent
        while above is not None and above.name not in index:
            above = above.parent
        return None if above is None else index[above.name]

    return tuple(RestBone(bone.name, find_above(bone), tuple(bone.head_local), tuple(bone.tail_local)) for bone in bones)


def gather_corrections(armature: bpy.types.Object) -> dict[str, Anchor]:
    """What the artist set, by role."""
    places = ((role, getattr(armature.beyondscene.joints, role)) for role in CORRECTABLE)
    return {role: Anchor(place.bone, place.end.lower()) for role, place in places if place.bone}


def check_corrections(armature: bpy.types.Object) -> None:
    """Raise ExportError where one of them names a bone that is gone."""
    for role, anchor in gather_corrections(armature).items():
        if anchor.bone not in armature.data.bones:
            raise ExportError(
                f"The {spoken(role)} of '{armature.name}' was set to the bone '{anchor.bone}', which the rig lacks: "
                "choose another in the panel under Joints, or clear it there."
            )


def spoken(role: str) -> str:
    """A role, or a point of a face, as one says it: "RShoulder" is "right shoulder", "LLipTop1" is "left lip top 1"."""
    sided = role[1].isupper()
    words = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", role[1:] if sided else role).lower()
    return {"R": "right ", "L": "left "}[role[0]] + words if sided else words
