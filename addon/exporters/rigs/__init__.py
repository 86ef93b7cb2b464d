"""Rig families: which bone is which joint. To add one, write a file like `mixamo.py` and list it in FAMILIES."""

from functools import lru_cache

from ..errors import ExportError
from .family import REQUIRED, Family, Match, match_family
from .mixamo import MIXAMO
from .rigify import RIGIFY
from .unreal import UNREAL

FAMILIES = (MIXAMO, UNREAL, RIGIFY)
MIN_COVERAGE = 0.5  # below this a rig is something else, e.g. a car that happens to have a bone `head`

__all__ = ["FAMILIES", "MIN_COVERAGE", "REQUIRED", "Family", "Match", "best_match", "detect"]


@lru_cache(maxsize=256)  # the panel asks again at every redraw
def best_match(bone_names: tuple[str, ...]) -> Match:
    """The family that covers most of its joints, however few; the first listed where two are level."""
    return max((match_family(family, bone_names) for family in FAMILIES), key=lambda match: match.coverage)


def detect(armature_name: str, bone_names: tuple[str, ...]) -> Match:
    """The best family of an armature. Raises ExportError where none covers MIN_COVERAGE of its joints."""
    match = best_match(bone_names)
    if match.coverage < MIN_COVERAGE:
        tried = ", ".join(family.label for family in FAMILIES)
        raise ExportError(
            f"The bones of '{armature_name}' match no rig family (tried {tried}; the best, {match.family.label}, covers "
            f"{match.coverage:.0%}): switch it off in the list if it is no person, or rename its bones."
        )
    return match
