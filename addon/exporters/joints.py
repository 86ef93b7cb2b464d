"""The eighteen COCO joints of a posed armature, and the twenty-one of each hand, in the world."""

from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix

from ...protocol import HAND_NAMES, KEYPOINT_NAMES
from .head import estimate_face
from .rigs import Match


def gather_joints(armature: bpy.types.Object, world: np.ndarray, match: Match, mirrored: bool) -> list[np.ndarray | None]:
    """Where the joints are, in the order of KEYPOINT_NAMES, as (3,) Blender units of the world; None without a bone.

    armature: the evaluated object, so that constraints, drivers and parents have had their say.
    world: (4, 4), from the armature's frame to the world; for an instance not the armature's own.
    mirrored: whether they are seen as in a mirror, see Person.is_mirrored.
    """
    bones = armature.pose.bones
    places = {role: transform(world, np.array(getattr(bones[at.bone], at.end))) for role, at in match.anchors.items()}
    if "Head" in match.anchors:
        skull = bones[match.anchors["Head"].bone]
        posed_from_rest = world @ np.array(skull.matrix @ rest_matrix(skull).inverted())
        for name, place in estimate_face(gather_rest(armature, match)).items():
            places.setdefault(name, transform(posed_from_rest, place))
    if "RShoulder" in places and "LShoulder" in places:
        # By COCO's definition, not the rig's.
        places.setdefault("Neck", (places["RShoulder"] + places["LShoulder"]) / 2)
    return [places.get(name) for name in as_seen(KEYPOINT_NAMES, mirrored)]


def gather_hand(
    armature: bpy.types.Object, world: np.ndarray, match: Match, mirrored: bool, side: str
) -> list[np.ndarray | None] | None:
    """Where the joints of the right ("R") or left ("L") hand are, in the order of HAND_NAMES; None for a hand without fingers.

    armature, world, mirrored, the places: as of gather_joints.
    """
    side = as_seen("RL", mirrored)["RL".index(side)]
    roles = {name: match.fingers.get(side + name) for name in HAND_NAMES[1:]}
    if not any(roles.values()):
        return None
    roles["Wrist"] = match.anchors.get(f"{side}Wrist")
    bones = armature.pose.bones
    places = {name: transform(world, np.array(getattr(bones[at.bone], at.end))) for name, at in roles.items() if at}
    return [places.get(name) for name in HAND_NAMES]


def gather_rest(armature: bpy.types.Object, match: Match) -> dict[str, np.ndarray]:
    """The anchors in the rest pose by role, (3,) in the armature's frame, with the skull's tail for a missing "Crown"."""
    bones = armature.data.bones
    rest = {role: np.array(getattr(bones[at.bone], f"{at.end}_local")) for role, at in match.anchors.items()}
    if "Head" in match.anchors:
        rest.setdefault("Crown", np.array(bones[match.anchors["Head"].bone].tail_local))
    return rest


def as_seen(names: Sequence[str], mirrored: bool) -> list[str]:
    """What each of `names` is called on the rig: in a mirror, the right of a person is the rig's left.

    mirrored: as of gather_joints. A name of a side begins with "R" or "L".
    """
    if not mirrored:
        return list(names)
    others = {name: {"R": "L", "L": "R"}.get(name[0], name[0]) + name[1:] for name in names}
    return [other if other in others else name for name, other in others.items()]  # a lip is on neither side


def rest_matrix(bone: bpy.types.PoseBone) -> Matrix:
    return bone.bone.matrix_local


def transform(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    return matrix[:3, :3] @ point + matrix[:3, 3]
