"""Toes and heels: from the bones of the toes, else by the proportions of a foot."""

from collections.abc import Mapping

import numpy as np

from ...protocol import FEET_NAMES
from .head import find_head
from .joints import PosedRig, as_seen, gather_rest, transform

# Outwards, up and forward of the ankle in the rest pose, in lengths of the way from there to where the toes begin, seen from
# above. Measured on the neutral body that MakeHuman publishes under CC0: tips of the toes, and the back of the heel at a third
# of the ankle's height; the mean of where MPFB's rigs for Mixamo and for games have ankle and toes, which differ by 0.1.
SOLE = {"BigToe": (-0.15, -0.41, 1.48), "SmallToe": (0.33, -0.41, 1.19), "Heel": (-0.01, -0.35, -0.38)}
BONES = {"BigToe": "Toe", "SmallToe": "Toe", "Heel": "Ankle"}  # which each moves with


def gather_feet(rig: PosedRig) -> list[np.ndarray | None] | None:
    """Where the points of the feet are, in the order of FEET_NAMES; None for a rig without toes.

    The places: as of gather_joints.
    """
    places = {name: rig.find(anchor) for name, anchor in rig.match.feet.items()}
    for name, place in estimate_feet(gather_rest(rig.armature, rig.match)).items():
        side, point = name[0], name[1:]
        bone = rig.match.anchors[side + BONES[point]].bone
        places.setdefault(name, transform(rig.posed_from_rest(bone), place))
    return [places.get(name) for name in as_seen(FEET_NAMES, rig.mirrored)] if places else None


def estimate_feet(rest: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Places in the rest pose, by name; none of a foot whose rig does not say where its toes begin, nor which way is up.

    rest: see find_head, with "RToe" and "LToe".
    """
    head, places = find_head(rest), {}
    for side, outwards in (("R", -1), ("L", 1)):
        if head is None or not {f"{side}Ankle", f"{side}Toe"} <= rest.keys():
            continue
        ankle, (left, up, _) = rest[f"{side}Ankle"], head.frame.T / np.linalg.norm(head.frame, axis=0)[:, None]
        forward = rest[f"{side}Toe"] - ankle
        forward = forward - up * (forward @ up)
        across = np.cross(up, forward)  # as long as `forward`
        frame = np.stack([across * np.sign(across @ left) * outwards, up * np.linalg.norm(forward), forward])
        places |= {side + name: ankle + np.array(place) @ frame for name, place in SOLE.items()}
    return places
