"""The eighteen COCO joints of a posed armature, and the twenty-one of each hand, in the world."""

from collections.abc import Sequence
from typing import NamedTuple

import bpy
import numpy as np

from ...protocol import HAND_NAMES, KEYPOINT_NAMES
from .head import estimate_face
from .rigs import Anchor, Match


class PosedRig(NamedTuple):
    """A rig as the camera sees it.

    armature: the evaluated object, so that constraints, drivers and parents have had their say.
    world: (4, 4), from the armature's frame to the world; for an instance not the armature's own.
    match: which of its bones is which joint.
    mirrored: whether it is seen as in a mirror, see Person.is_mirrored.
    """

    armature: bpy.types.Object
    world: np.ndarray
    match: Match
    mirrored: bool

    def find(self, anchor: Anchor) -> np.ndarray:
        """Where that end of a bone is: (3,) Blender units of the world."""
        return transform(self.world, np.array(getattr(self.armature.pose.bones[anchor.bone], anchor.end)))

    def posed_from_rest(self, bone: str) -> np.ndarray:
        """(4, 4): what `bone` carries, from the armature's frame in the rest pose to the world."""
        pose = self.armature.pose.bones[bone]
        return self.world @ np.array(pose.matrix @ pose.bone.matrix_local.inverted())


def gather_joints(rig: PosedRig) -> list[np.ndarray | None]:
    """Where the joints are, in the order of KEYPOINT_NAMES, as (3,) Blender units of the world; None without a bone."""
    places = {role: rig.find(anchor) for role, anchor in rig.match.anchors.items()}
    if "Head" in rig.match.anchors:
        posed_from_rest = rig.posed_from_rest(rig.match.anchors["Head"].bone)
        for name, place in estimate_face(gather_rest(rig.armature, rig.match)).items():
            places.setdefault(name, transform(posed_from_rest, place))
    if "RShoulder" in places and "LShoulder" in places:
        # By COCO's definition, not the rig's.
        places.setdefault("Neck", (places["RShoulder"] + places["LShoulder"]) / 2)
    return [places.get(name) for name in as_seen(KEYPOINT_NAMES, rig.mirrored)]


def gather_hand(rig: PosedRig, side: str) -> list[np.ndarray | None] | None:
    """Where the joints of the right ("R") or left ("L") hand are, in the order of HAND_NAMES; None for a hand without fingers.

    The places: as of gather_joints.
    """
    side = as_seen("RL", rig.mirrored)["RL".index(side)]
    anchors = {name: rig.match.fingers.get(side + name) for name in HAND_NAMES[1:]}
    if not any(anchors.values()):
        return None
    anchors["Wrist"] = rig.match.anchors.get(f"{side}Wrist")
    places = {name: rig.find(anchor) for name, anchor in anchors.items() if anchor}
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

    mirrored: as of PosedRig. A name of a side begins with "R" or "L".
    """
    if not mirrored:
        return list(names)
    others = {name: {"R": "L", "L": "R"}.get(name[0], name[0]) + name[1:] for name in names}
    return [other if other in others else name for name, other in others.items()]  # a lip is on neither side


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., 3) through a (4, 4) matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
