"""Nose, eyes and ears of a person whose rig has no bones for them, from the proportions of a human head."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Left, up and forward of the midpoint of the shoulders in the rest pose, in units of that midpoint's distance to the
# top of the skull. Measured on the neutral body that MakeHuman publishes under CC0.
FACE = {
    "Nose": (0.0, 0.570, 0.411),
    "REye": (-0.0845, 0.680, 0.290),
    "LEye": (0.0845, 0.680, 0.290),
    "REar": (-0.233, 0.619, 0.055),
    "LEar": (0.233, 0.619, 0.055),
}
CROWN_TO_ANKLES = 0.274  # that unit as a share of the distance from shoulders to ankles, of the same body
CROWN_RANGE = (0.19, 0.42)  # of the same share; a child's head is larger. Outside, the bone's tail is no crown


def estimate_face(rest: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Places of the face in the rest pose, by keypoint name; empty where the rig lacks shoulders or legs.

    rest: see find_head.
    """
    head = find_head(rest)
    return {} if head is None else {name: head.place(place) for name, place in FACE.items()}


class Head(NamedTuple):
    """The frame of FACE in that of the armature: origin (3,), and frame (3, 3), whose columns are left, up and forward."""

    origin: np.ndarray
    frame: np.ndarray

    def place(self, point: Sequence[float] | np.ndarray) -> np.ndarray:
        """(..., 3) of FACE's frame to the armature's."""
        return self.origin + np.asarray(point) @ self.frame.T


def find_head(rest: Mapping[str, np.ndarray]) -> Head | None:
    """How the head lies in the rest pose; None where the rig lacks shoulders or legs.

    rest: "RShoulder", "LShoulder", "RAnkle", "LAnkle" (or the hips) and "Crown", each (3,), in any one frame and unit; where
    it has "REye" and "LEye", the head is moved so that its own lie there.
    """
    if not {"RShoulder", "LShoulder"} <= rest.keys():
        return None
    shoulders = (rest["RShoulder"] + rest["LShoulder"]) / 2
    left = rest["LShoulder"] - rest["RShoulder"]
    for joint, reach in (("Ankle", 1.0), ("Knee", 1.45), ("Hip", 2.75)):  # reach: shoulders to ankles over this joint's
        if {f"R{joint}", f"L{joint}"} <= rest.keys():
            trunk = (shoulders - (rest[f"R{joint}"] + rest[f"L{joint}"]) / 2) * reach
            break
    else:
        return None
    if min(np.linalg.norm(left), np.linalg.norm(np.cross(left, trunk))) == 0:
        return None
    left = left / np.linalg.norm(left)
    up = trunk - left * (trunk @ left)
    stature = np.linalg.norm(up)
    up = up / stature
    unit = (rest["Crown"] - shoulders) @ up if "Crown" in rest else 0.0
    if not CROWN_RANGE[0] <= unit / stature <= CROWN_RANGE[1]:
        unit = CROWN_TO_ANKLES * stature
    head = Head(shoulders, np.stack([left, up, np.cross(left, up)], axis=1) * unit)
    if {"REye", "LEye"} <= rest.keys():
        shift = (rest["REye"] + rest["LEye"] - head.place(FACE["REye"]) - head.place(FACE["LEye"])) / 2
        head = head._replace(origin=shoulders + shift)
    return head
