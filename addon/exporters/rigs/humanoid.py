"""Joints of a VRM model as its own humanoid says them, which the VRM Add-on for Blender keeps on the armature: no guessing."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import bpy

from ....protocol import FINGERS
from .family import Anchor, Match

LABEL = "VRM humanoid"
PARTS = {
    "upper_arm": "Shoulder",
    "lower_arm": "Elbow",
    "hand": "Wrist",
    "upper_leg": "Hip",
    "lower_leg": "Knee",
    "foot": "Ankle",
    "toes": "Toe",
    "eye": "Eye",
}
SIDES = {"R": "right", "L": "left"}
SEGMENTS = ("proximal", "intermediate", "distal")
THUMB_SEGMENTS = (("metacarpal", "proximal", "distal"), SEGMENTS)  # of VRM 1.0, and of 0.x


def match_humanoid(armature: bpy.types.Armature) -> Match | None:
    """What the humanoid of `armature` says, of VRM 1.0 or 0.x, whichever has more; None where it has none."""
    extension = getattr(armature, "vrm_addon_extension", None)
    if extension is None:
        return None
    bones = max((dict(read(extension)) for read in (read_vrm1, read_vrm0)), key=len)
    bones = {name: bone for name, bone in bones.items() if bone in armature.bones}
    anchors = {side + role: f"{word}_{part}" for part, role in PARTS.items() for side, word in SIDES.items()} | {"Head": "head"}
    found = {role: Anchor(bones[name]) for role, name in anchors.items() if name in bones}
    return Match(LABEL, found, fingers=match_fingers(bones)) if found else None


def match_fingers(bones: Mapping[str, str]) -> dict[str, Anchor]:
    """The joints of both hands by role; a finger whose bones are not all there has none. bones: by VRM 1.0's name."""
    found: dict[str, Anchor] = {}
    for side, word in SIDES.items():
        for finger in FINGERS:
            for segments in THUMB_SEGMENTS if finger == "Thumb" else (SEGMENTS,):
                names = [bones.get(f"{word}_{finger.lower()}_{segment}") for segment in segments]
                if all(names):
                    first, second, third = (str(name) for name in names)
                    joints = (Anchor(first), Anchor(second), Anchor(third), Anchor(third, "tail"))
                    found |= {f"{side}{finger}{number}": anchor for number, anchor in enumerate(joints, 1)}
    return found


def read_vrm1(extension: Any) -> Iterator[tuple[str, str]]:
    """Name in snake case, and the bone: `vrm1.humanoid.human_bones.left_upper_arm.node.bone_name`."""
    humanoid = extension.vrm1.humanoid.human_bones
    for part in humanoid.bl_rna.properties:
        node = getattr(getattr(humanoid, part.identifier), "node", None)
        if bone := getattr(node, "bone_name", ""):
            yield part.identifier, bone


def read_vrm0(extension: Any) -> Iterator[tuple[str, str]]:
    """The same, from a list: `vrm0.humanoid.human_bones[n].bone` is "leftUpperArm"."""
    for part in extension.vrm0.humanoid.human_bones:
        if part.node.bone_name:
            yield re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part.bone).lower(), part.node.bone_name
