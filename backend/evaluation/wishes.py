"""Whose garments and hair are to have which colour, as far as a prompt says it in plain words."""

import re

from ...protocol import HEAD_NAMES, KEYPOINT_NAMES, Character
from ..mannequins.looks import GARMENT_COLOURS, HAIR_COLOURS

_UPPER = "shirt t-shirt blouse sweater jumper pullover hoodie jacket coat top vest tunic"
_LOWER = "trousers pants jeans leggings shorts skirt"
_GARMENTS = {
    **dict.fromkeys(_UPPER.split(), ("shirt",)),
    **dict.fromkeys(_LOWER.split(), ("trousers",)),
    "dress": ("shirt", "trousers"),  # the upper and the lower half of what is worn
}
# joints, and how many of them must be seen for the part to be seen
_TORSO, _LEGS = ("RShoulder", "LShoulder", "RHip", "LHip"), ("RHip", "LHip", "RKnee", "LKnee")
_SHOWN_BY = {"shirt": (_TORSO, 3), "trousers": (_LEGS, 3), "hair": (HEAD_NAMES, 1)}


def _pattern(colours: dict[str, str], nouns: str) -> re.Pattern[str]:
    """One colour or two and their noun, at most one word between them: "a red woollen coat", "black and grey hair".

    A top hat is no top.
    """
    words = "|".join(colours)
    return re.compile(rf"\b(?:({words})(?: and |[-/]))?({words})(?:[ -]\w+)?[ -]({nouns})\b(?![ -]hat)", re.IGNORECASE)


_WORN = {name: name for name in GARMENT_COLOURS} | {"gray": "grey"}
_HAIR = {name: name for name in HAIR_COLOURS} | {"gray": "grey", "blonde": "blond", "red": "ginger"}
_WORN_PATTERN = _pattern(_WORN, "|".join(sorted(_GARMENTS, key=len, reverse=True)))
_HAIR_PATTERN = _pattern(_HAIR, "haired|hair")


def read_wishes(prompt: str) -> dict[str, str]:
    """The colour word of each part ("shirt", "trousers", "hair") that `prompt` names with one; parts with two are left out."""
    named: dict[str, set[str]] = {part: set() for part in _SHOWN_BY}
    for first, second, noun in _WORN_PATTERN.findall(prompt):
        for part in _GARMENTS[noun.lower()]:
            named[part] |= {_WORN[word.lower()] for word in (first, second) if word}
    for first, second, _ in _HAIR_PATTERN.findall(prompt):
        named["hair"] |= {_HAIR[word.lower()] for word in (first, second) if word}
    return {part: words.pop() for part, words in named.items() if len(words) == 1}


def visible_parts(character: Character) -> set[str]:
    """The parts that the plan shows, by the joints around them."""
    seen = {name for name, joint in zip(KEYPOINT_NAMES, character.keypoints, strict=True) if joint.state == "visible"}
    return {part for part, (joints, least) in _SHOWN_BY.items() if len(seen.intersection(joints)) >= least}
