"""What a rig family is, and how an armature's bone names are matched against it. No bpy."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ....protocol import FINGERS, HEAD_NAMES, KEYPOINT_NAMES

FOLDER = Path(__file__).parent / "families"
LIMBS = tuple(name for name in KEYPOINT_NAMES if name not in ("Neck", *HEAD_NAMES))
REQUIRED = (*LIMBS, "Head")
CORRECTABLE = (*KEYPOINT_NAMES, "Head")  # what an artist may give a bone; "Head" is the bone that carries the face

Part = Literal["Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Toe", "Head", "Eye", "Ear", "Nose", "Crown"]
End = Literal["head", "tail"]


class Anchor(Struct, frozen=True):
    """The end of a bone where a joint lies."""

    bone: str
    end: End = "head"


class Fingers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the finger bones of both hands are called; "{n}" stands for each of `numbers`, from the palm outwards.

    A finger's tip lies where its last bone ends, or where the bone numbered `tip` begins.
    """

    Thumb: str
    Index: str
    Middle: str
    Ring: str
    Little: str
    numbers: tuple[str, str, str] = ("1", "2", "3")
    thumb_numbers: tuple[str, str, str] | None = None
    tip: str | None = None

    def bones(self, finger: str) -> tuple[str, ...]:
        """Names of the bones of `finger`: three, and the one at the tip where there may be one."""
        numbers = (finger == "Thumb" and self.thumb_numbers) or self.numbers
        names: str = getattr(self, finger)
        # the side is filled in later
        return tuple(names.replace("{n}", number) for number in (*numbers, *([self.tip] if self.tip else [])))


class Family(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bone names of one kind of rig, as a file of `families/` has them. A joint lies where its bone begins.

    label: what artists call this kind of rig.
    source: where the names were read.
    sides: what "{side}" stands for, the right one first.
    bones: part of the body to the bone names it may have, best first. Optional: "Eye", "Ear" and "Nose" where a bone begins
        there (else they are estimated), "Crown" for one at the top of the skull (else the tail of the head bone is taken), and
        "Toe" for the one that begins at the ball of the foot, without which there are no feet.
    prefix: regular expression of what stands before every bone name.
    marks: further bones of such a rig, which tell it from another family with the same names for the joints.
    fingers: what the bones of the hands may be called, best first; none where nobody wrote it down.
    face: point of a face (see FACE_NAMES; without its side where the bone has one) to the end of the bone that lies there.
    feet: point of a foot (see FEET_NAMES, without its side) likewise; the others are estimated.
    """

    label: str
    source: str
    sides: tuple[str, str]
    bones: dict[Part, tuple[str, ...]]
    prefix: str = ""
    marks: tuple[str, ...] = ()
    fingers: tuple[Fingers, ...] = ()
    face: dict[str, Anchor] = {}
    feet: dict[str, Anchor] = {}


@dataclass(frozen=True)
class Match:
    """Where the joints of an armature are, and how that is known.

    label: the family's, or how the joints were found without one.
    anchors: role (a keypoint's name, "Head" or "Crown") to the end of a bone of the armature.
    guessed: found by shape, not by name, be it in part.
    corrected: roles whose bone the artist chose.
    fingers: joint of a hand with its side ("RThumb1") to the end of a bone.
    face, feet: point of the face or of the feet, one of FACE_NAMES or FEET_NAMES, to the end of a bone.
    """

    label: str
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
    guessed: bool = False
    corrected: tuple[str, ...] = ()
    fingers: Mapping[str, Anchor] = field(default_factory=dict)
    face: Mapping[str, Anchor] = field(default_factory=dict)
    feet: Mapping[str, Anchor] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Share of the twelve limb joints and the head that have a bone, 0 to 1."""
        return sum(role in self.anchors for role in REQUIRED) / len(REQUIRED)

    @property
    def limbs_found(self) -> int:
        """How many of the twelve limb joints have a bone."""
        return sum(role in self.anchors for role in LIMBS)

    @property
    def keypoints_found(self) -> int:
        """How many of the eighteen keypoints have a bone of their own; the neck and the face need none."""
        return sum(role in self.anchors for role in KEYPOINT_NAMES)

    def complete(self, guess: "Match") -> "Match":
        """The same with the joints that only `guess` has; where the two differ about one of the limbs', the names are right."""
        known = self.anchors.keys() & guess.anchors.keys() & set(LIMBS)
        if any(self.anchors[role].bone != guess.anchors[role].bone for role in known):
            return self
        label = f"{self.label}, {guess.label}"
        return replace(self, label=label, anchors={**guess.anchors, **self.anchors}, guessed=True)

    def correct(self, corrections: Mapping[str, Anchor]) -> "Match":
        """The same with the artist's choices, which win."""
        if not corrections:
            return self
        return replace(self, anchors={**self.anchors, **corrections}, corrected=tuple(corrections))


@cache
def load_families() -> tuple[Family, ...]:
    """Every table of FOLDER, by file name; read once. Raises msgspec.ValidationError for one that says something unknown."""
    return tuple(msgspec.convert(tomllib.loads(path.read_text("utf-8")), Family) for path in sorted(FOLDER.glob("*.toml")))


def match_family(family: Family, bone_names: Iterable[str]) -> tuple[Match, float]:
    """Find each role of `family` among `bone_names`, and the share of its marks, 0 to 1; letter case does not matter."""
    pattern = re.compile(f"{family.prefix}(?P<name>.+)", re.IGNORECASE)
    present = {found["name"].casefold(): name for name in bone_names if (found := pattern.fullmatch(name))}
    anchors = {}
    for part, candidates in family.bones.items():
        for role, names in spell(part, candidates, family.sides).items():
            bone = next((present[name.casefold()] for name in names if name.casefold() in present), None)
            if bone:
                anchors[role] = Anchor(bone)
    marks = [name for mark in family.marks for names in spell("", (mark,), family.sides).values() for name in names]
    found = sum(mark.casefold() in present for mark in marks) / max(len(marks), 1)
    face, feet = (match_points(points, family.sides, present) for points in (family.face, family.feet))
    return Match(family.label, anchors, fingers=match_fingers(family, present), face=face, feet=feet), found


def match_fingers(family: Family, present: Mapping[str, str]) -> dict[str, Anchor]:
    """The joints of both hands by role; a finger whose bones are not all there has none.

    present: bone names of the rig by what is left of them without prefix and letter case.
    """
    found: dict[str, Anchor] = {}
    for naming, finger in ((naming, finger) for naming in family.fingers for finger in FINGERS):
        for letter, side in zip("RL", family.sides, strict=True):
            bones = [present.get(name.format(side=side).casefold()) for name in naming.bones(finger)]
            first, second, third = bones[:3]
            if first and second and third and f"{letter}{finger}1" not in found:
                tip = Anchor(bones[3]) if bones[3:] and bones[3] else Anchor(third, "tail")
                joints = (Anchor(first), Anchor(second), Anchor(third), tip)
                found |= {f"{letter}{finger}{number}": anchor for number, anchor in enumerate(joints, 1)}
    return found


def match_points(table: Mapping[str, Anchor], sides: tuple[str, str], present: Mapping[str, str]) -> dict[str, Anchor]:
    """The points of `table`, of a face or the feet, that have a bone. sides: of the family. present: as of match_fingers."""
    return {
        point: Anchor(bone, at.end)
        for part, at in table.items()
        for point, names in spell(part, (at.bone,), sides).items()
        for name in names
        if (bone := present.get(name.casefold()))
    }


def spell(part: str, names: tuple[str, ...], sides: tuple[str, str]) -> dict[str, list[str]]:
    """Role to its bone names: one for each side where the names have one."""
    if not any("{side}" in name for name in names):
        return {part: list(names)}
    return {letter + part: [name.format(side=side) for name in names] for letter, side in zip("RL", sides, strict=True)}
