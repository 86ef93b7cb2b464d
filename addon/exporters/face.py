"""The seventy points of a face: from facial bones, else the proportions of a face fitted to the skin of the head."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import bpy
import numpy as np
from msgspec.structs import replace

from ...protocol import DRAWN, FACE_NAMES, Keypoint
from .head import FACE, find_head
from .joints import PosedRig, as_seen, gather_rest, transform
from .people import Person
from .view import state_at

# In the frame of head.FACE, of the same body: the left half and the middle. The right half is its mirror image.
LEFT_HALF = {
    "LJaw1": (0.201, 0.647, 0.128), "LJaw2": (0.196, 0.584, 0.128), "LJaw3": (0.182, 0.534, 0.134),
    "LJaw4": (0.161, 0.479, 0.139), "LJaw5": (0.139, 0.435, 0.143), "LJaw6": (0.111, 0.400, 0.171),
    "LJaw7": (0.086, 0.384, 0.217), "LJaw8": (0.057, 0.371, 0.270), "Chin": (0.0, 0.368, 0.331),
    "LBrow1": (0.038, 0.737, 0.365), "LBrow2": (0.061, 0.747, 0.362), "LBrow3": (0.089, 0.749, 0.353),
    "LBrow4": (0.119, 0.738, 0.339), "LBrow5": (0.142, 0.714, 0.318),
    "Bridge1": (0.0, 0.671, 0.360), "Bridge2": (0.0, 0.641, 0.373), "Bridge3": (0.0, 0.615, 0.391),
    "Bridge4": (0.0, 0.586, 0.410), "Septum": (0.0, 0.555, 0.400), "LNostril1": (0.023, 0.562, 0.376),
    "LNostril2": (0.043, 0.562, 0.371),
    "LLid1": (0.054, 0.672, 0.328), "LLid2": (0.074, 0.689, 0.341), "LLid3": (0.099, 0.689, 0.338),
    "LLid4": (0.122, 0.679, 0.319), "LLid5": (0.101, 0.664, 0.334), "LLid6": (0.076, 0.667, 0.328),
    "LPupil": (0.088, 0.677, 0.335),
    "LLipCorner": (0.068, 0.483, 0.351), "LLipTop2": (0.046, 0.504, 0.375), "LLipTop1": (0.021, 0.514, 0.389),
    "LipTop": (0.0, 0.512, 0.394), "LLipBottom2": (0.049, 0.463, 0.363), "LLipBottom1": (0.026, 0.461, 0.377),
    "LipBottom": (0.0, 0.459, 0.382),
    "LMouthCorner": (0.060, 0.485, 0.352), "LMouthTop": (0.030, 0.489, 0.371), "MouthTop": (0.0, 0.488, 0.376),
    "LMouthBottom": (0.028, 0.482, 0.370), "MouthBottom": (0.0, 0.482, 0.378),
}  # fmt: skip
MODEL = np.array(
    [LEFT_HALF[n] if n in LEFT_HALF else np.array(LEFT_HALF[f"L{n[1:]}"]) * (-1, 1, 1) for n in FACE_NAMES]
)  # (70, 3)
MIDDLE = (0.0, 0.6, 0.02)  # of the head, between the ears, in the same frame: from there the skin is looked for
REACH = 0.045  # how far the skin may lie from MODEL, in the same unit: 15 mm of an adult
FEWEST = 0.5  # share of the points that must find skin
EDGES = 1e-6  # a ray may pass so far outside a triangle, as a share of its sides
LIDS = tuple(f"Lid{number}" for number in range(1, 7))
FOLLOWED = {  # points of the face that nose, eyes and ears move with, where they have no bone
    "Nose": ("Bridge4",),
    "REye": tuple(f"R{lid}" for lid in LIDS),
    "LEye": tuple(f"L{lid}" for lid in LIDS),
    "REar": ("RJaw1",),
    "LEar": ("LJaw1",),
}
PART = np.repeat(range(8), (17, 5, 5, 9, 6, 6, 20, 2))  # of each point: jaw, brows, nose, lids, mouth, pupils
CORNERS = tuple(FACE_NAMES.index(name) for name in ("RBrow3", "LBrow3", "LipTop"))  # bones have them, too


def gather_facial_bones(rig: PosedRig) -> list[np.ndarray | None] | None:
    """Where the points of the face are that have a bone, in the order of FACE_NAMES; None for a face without any.

    The places: as of gather_joints.
    """
    if not rig.match.face:
        return None
    anchors = [rig.match.face.get(name) for name in as_seen(FACE_NAMES, rig.mirrored)]
    return [anchor and rig.find(anchor) for anchor in anchors]


class FittedFace(NamedTuple):
    """A face on the skin, in Blender units of the world.

    points: (70, 3), in the order of FACE_NAMES. joints: of nose, eyes and ears, those that have no bone; (3,) each.
    """

    points: np.ndarray
    joints: dict[str, np.ndarray]


class FaceFitter:
    """A face of human proportions on the head of a posed rig, which waits for the skin."""

    def __init__(self, rig: PosedRig) -> None:
        """Raises LookupError where the rig has no head, shoulders or legs to say where a face would be."""
        anchors = rig.match.anchors
        head = find_head(gather_rest(rig.armature, rig.match)) if "Head" in anchors else None
        if head is None:
            raise LookupError(f"'{rig.armature.name}' does not say where its face is")
        posed_from_rest = rig.posed_from_rest(anchors["Head"].bone)
        model = dict(zip(FACE_NAMES, MODEL, strict=True))
        face = head.place([model[name] for name in as_seen(FACE_NAMES, rig.mirrored)])
        self.points = transform(posed_from_rest, face)
        called = dict(zip(FACE, as_seen(tuple(FACE), rig.mirrored), strict=True))  # on the rig
        self.joints = {
            name: transform(posed_from_rest, head.place(FACE[role])) for name, role in called.items() if role not in anchors
        }
        self.middle = transform(posed_from_rest, head.place(MIDDLE))
        self._reach = REACH * float(np.linalg.norm(posed_from_rest[:3, :3] @ head.frame[:, 1]))
        self._skin: list[np.ndarray] = []

    def add(self, triangles: np.ndarray) -> None:
        """Take from `triangles`, (N, 3, 3) in the units of the world, those near the face."""
        radius = np.linalg.norm(self.points - self.middle, axis=1).max() + self._reach
        near = (np.linalg.norm(triangles - self.middle, axis=-1) < radius).any(1)
        self._skin.append(triangles[near])

    def fit(self) -> FittedFace | None:
        """Each point where the ray to it from the middle of the head meets the skin nearest to it.

        A point that finds no skin within REACH, as in an open mouth, stays where the proportions have it. None where most
        find none: what is there is no head, or a helmet.
        """
        skin = np.concatenate([np.zeros((0, 3, 3)), *self._skin])
        rays = self.points - self.middle
        lengths = np.linalg.norm(rays, axis=1)
        # one row for each axis: numpy is many times slower along rows of three
        low, high = (skin.min(1) - self._reach).T.copy(), (skin.max(1) + self._reach).T.copy()
        within = (((low <= point) & (point <= high)).all(0) for point in self.points[..., None])
        along = np.array([nearest_hit(self.middle, ray, skin[near]) for ray, near in zip(rays, within, strict=True)])
        found = np.abs(along - 1) * lengths < self._reach
        if found.mean() < FEWEST:
            return None
        points = self.middle + rays * np.where(found, along, 1)[:, None]
        moved = dict(zip(FACE_NAMES, points - self.points, strict=True))
        joints = {name: at + np.mean([moved[point] for point in FOLLOWED[name]], 0) for name, at in self.joints.items()}
        return FittedFace(points, joints)


def nearest_hit(start: np.ndarray, ray: np.ndarray, triangles: np.ndarray) -> float:
    """How far along `ray`, 1 at its end, it meets one of `triangles`, (N, 3, 3): nearest to 1; infinite where it meets none.

    Möller and Trumbore, Fast, Minimum Storage Ray/Triangle Intersection (1997).
    """
    corner, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    across = np.cross(ray, second)
    volume = (first * across).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = start - corner
        u = (out * across).sum(1) / volume
        normal = np.cross(out, first)
        v = normal @ ray / volume
        along = (second * normal).sum(1) / volume
    hits = along[(u >= -EDGES) & (v >= -EDGES) & (u + v <= 1 + EDGES) & (along > 0)]
    return float(hits[np.abs(hits - 1).argmin()]) if len(hits) else np.inf


def make_face_fitters(people: Sequence[Person], depsgraph: bpy.types.Depsgraph) -> dict[int, FaceFitter]:
    """By the places of those in `people` whose rig says where a face would be."""
    fitters = {}
    for index, person in enumerate(people):
        with suppress(LookupError):
            fitters[index] = FaceFitter(person.pose(depsgraph, person.match))
    return fitters


def follow(bones: Sequence[Keypoint], skin: Sequence[Keypoint], width: int, height: int) -> tuple[Keypoint, ...]:
    """A face of `bones` where there are some; elsewhere of `skin`, moved as far as the bones of the same part lie from it.

    width, height: of the picture, in pixels.

    So a brow is one line, and a mouth that bones open opens as a whole. The nearest bone counts most.
    """
    there = np.array([bone.state in DRAWN and point.state in DRAWN for bone, point in zip(bones, skin, strict=True)])
    moves = np.array([(b.x - s.x, b.y - s.y, b.depth - s.depth) for b, s in zip(bones, skin, strict=True)])
    face = []
    for index, (bone, point) in enumerate(zip(bones, skin, strict=True)):
        near = there & (PART[index] == PART)
        if bone.state != "missing":
            face.append(bone)
        elif point.state in DRAWN and near.any():
            shares = 1 / np.linalg.norm(MODEL[near] - MODEL[index], axis=1) ** 2
            x, y, depth = np.average(moves[near], 0, shares).tolist()
            x, y, depth = point.x + x, point.y + y, max(0.0, point.depth + depth)
            face.append(replace(point, x=x, y=y, depth=depth, state=state_at(x, y, width, height)))
        else:
            face.append(point)
    return tuple(face)


def turned_away(face: Sequence[Keypoint]) -> bool:
    """Whether the back of the head is seen: from the front right brow, left brow and lip run clockwise."""
    right, left, lip = (face[place] for place in CORNERS)
    if "missing" in (right.state, left.state, lip.state):
        return False
    return (left.x - right.x) * (lip.y - right.y) - (left.y - right.y) * (lip.x - right.x) <= 0
