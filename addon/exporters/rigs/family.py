"""What a rig family is, and how an armature's bone names are matched against it. No bpy."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

REQUIRED = (
    *("RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist"),
    *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "Head"),
)


@dataclass(frozen=True)
class Family:
    """The bone names of one kind of rig. A joint lies where its bone begins.

    label: what artists call this kind of rig.
    source: where the names were read.
    sides: what "{side}" stands for, the right one first.
    bones: joint ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Head") to bone name. Optional: "Eye", "Ear"
        and "Nose" where a bone begins there (else they are estimated), and "Crown" for one at the top of the skull
        (else the tail of the head bone is taken).
    prefix: regular expression of what may stand before every bone name.
    """

    label: str
    source: str
    sides: tuple[str, str]
    bones: Mapping[str, str]
    prefix: str = ""


@dataclass(frozen=True)
class Match:
    """How well a family fits an armature. `bones`: role ("RShoulder", ..., "Head", "Crown") to the armature's bone."""

    family: Family
    bones: Mapping[str, str] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Share of the twelve limb joints and the head that have a bone, 0 to 1."""
        return sum(role in self.bones for role in REQUIRED) / len(REQUIRED)


def match_family(family: Family, bone_names: Iterable[str]) -> Match:
    """Find each role of `family` among `bone_names`; letter case does not matter."""
    pattern = re.compile(f"^(?:{family.prefix})?", re.IGNORECASE)
    present = {pattern.sub("", name, count=1).casefold(): name for name in bone_names}
    roles = {}
    for joint, bone in family.bones.items():
        if "{side}" in bone:
            for letter, side in zip("RL", family.sides, strict=True):
                roles[letter + joint] = bone.format(side=side)
        else:
            roles[joint] = bone
    return Match(family, {role: present[bone.casefold()] for role, bone in roles.items() if bone.casefold() in present})
