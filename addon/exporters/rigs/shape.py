"""Joints of a rig with unknown names, from the shape of its rest pose. No bpy.

A person is symmetric, stands on one pair of legs, has one pair of arms, and carries the head on top. What is not plainly so
gets no guess: a second pair on the ground, no foot to say where the front is, or limbs far from human proportions.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from .family import Anchor, Match

LABEL = "by shape"
# Shares of the stature: Drillis and Contini, Body Segment Parameters (1966), as in Winter, Biomechanics, figure 4.1.
ARM, LEG = (0.186, 0.146), (0.245, 0.246)  # upper and lower segment
CHIN_HEIGHT = 0.870
MAX_STRETCH = 1.5  # a segment may be this many times longer or shorter than in the table
MARGIN = 0.02  # by which the best reading of a limb must be better than the next; squared logarithms of the stretches
TOLERANCE = 0.01  # two points mirror each other; of the largest extent
GROUND = 0.1  # a limb that ends below this height stands on the ground; of the stature, like all that follows
SHORTEST_FOOT = 0.05
HEAD_RANGE = 0.08  # the head begins within this of the chin's height

Limb = tuple[Anchor, Anchor, Anchor]  # shoulder, elbow, wrist; or hip, knee, ankle


class RestBone(NamedTuple):
    """A bone in the rest pose; head and tail in any one frame and unit."""

    name: str
    parent: int | None  # its place in the list
    head: tuple[float, ...]
    tail: tuple[float, ...]


@lru_cache(maxsize=64)  # the panel asks again at every redraw
def guess_by_shape(bones: tuple[RestBone, ...]) -> Match | None:
    """The joints of `bones`, or None where they are not plainly a person in one way only."""
    guesses = [guess for frame in upright_frames() if (guess := read_body(bones, frame))]
    return Match(LABEL, guesses[0], guessed=True) if len(guesses) == 1 else None


def upright_frames() -> Iterator[np.ndarray]:
    """Right-handed frames (3, 3) along the axes; rows: across the plane of symmetry, up, forward or backward."""
    axes = np.eye(3)
    for across in range(3):
        for up in {0, 1, 2} - {across}:
            for sign in (1, -1):
                yield np.array([axes[across], sign * axes[up], np.cross(axes[across], sign * axes[up])])


def read_body(bones: tuple[RestBone, ...], frame: np.ndarray) -> dict[str, Anchor] | None:
    """Anchors by role if `bones` are a person upright in `frame`."""
    ends = np.array([[bone.head, bone.tail] for bone in bones]).reshape(-1, 2, 3) @ frame.T  # (bones, ends, axes)
    if len(ends) < 14:
        return None
    ends[..., 0] -= np.median(ends[..., 0])
    partners = mirror_images(ends)
    own = np.arange(len(bones))
    paired, central = (partners >= 0) & (partners != own), partners == own
    if not paired.any() or not central.any():
        return None
    ends[..., 1] -= ends[paired, :, 1].min()
    ends /= ends[central, :, 1].max()

    below = {number: [child for child in own if bones[child].parent == number] for number in own}
    tops = [
        number
        for number in own
        if paired[number] and not (bones[number].parent is not None and paired[bones[number].parent]) and ends[number, 1, 0] > 0
    ]
    standing = [top for top in tops if ends[subtree(top, below), :, 1].min() < GROUND]
    legs = [limb for top in standing if (limb := read_limb(top, LEG, bones, ends, below))]
    arms = [limb for top in tops if top not in standing and (limb := read_limb(top, ARM, bones, ends, below))]
    if len(standing) != 1 or len(legs) != 1 or len(arms) != 1:
        return None
    number = {bone.name: place for place, bone in enumerate(bones)}
    place = {anchor: ends[number[anchor.bone], int(anchor.end == "tail")] for limb in (*legs, *arms) for anchor in limb}
    ankle, shoulder = legs[0][2], arms[0][0]
    foot = ends[subtree(number[ankle.bone], below), 1, 2] - place[ankle][2]
    reach = foot[np.abs(foot).argmax()]
    head = read_head(bones, ends, central, place[shoulder][1])
    if abs(reach) < SHORTEST_FOOT or head is None or place[shoulder][1] < place[legs[0][0]][1]:
        return None
    roles = dict(zip(("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"), (*arms[0], *legs[0]), strict=True))
    side, other = ("L", "R") if reach > 0 else ("R", "L")  # of the half where x is positive
    anchors = {side + part: anchor for part, anchor in roles.items()}
    for part, anchor in roles.items():
        anchors[other + part] = Anchor(bones[partners[number[anchor.bone]]].name, anchor.end)
    return {**anchors, "Head": Anchor(head)}


def mirror_images(ends: np.ndarray) -> np.ndarray:
    """For each bone the one that lies where its mirror image does: itself on the plane of symmetry, -1 where there is none."""
    flat = ends.reshape(len(ends), 6)
    mirrored = (ends * (-1, 1, 1)).reshape(len(ends), 6)
    distances = np.abs(mirrored[:, None] - flat[None]).max(axis=-1)
    nearest = distances.argmin(axis=1)
    close = distances[np.arange(len(ends)), nearest] < TOLERANCE * np.ptp(ends.reshape(-1, 3), axis=0).max()
    return np.where(close & (nearest[nearest] == np.arange(len(ends))), nearest, -1)


def subtree(top: int, below: dict[int, list[int]]) -> list[int]:
    """`top` and all that hangs from it."""
    return [top, *(one for child in below[top] for one in subtree(child, below))]


def chains(top: int, below: dict[int, list[int]]) -> Iterator[list[int]]:
    """Each way from `top` down to a bone without children."""
    for child in below[top]:
        for chain in chains(child, below):
            yield [top, *chain]
    if not below[top]:
        yield [top]


def read_limb(
    top: int, lengths: tuple[float, float], bones: tuple[RestBone, ...], ends: np.ndarray, below: dict[int, list[int]]
) -> Limb | None:
    """The three joints below `top` whose distances fit `lengths` best; None where none or more than one fits."""
    fits: dict[Limb, float] = {}
    for chain in chains(top, below):
        joints = [(Anchor(bones[one].name), ends[one, 0]) for one in chain]
        joints.append((Anchor(bones[chain[-1]].name, "tail"), ends[chain[-1], 1]))
        for limb in combinations(joints, 3):
            (start, a), (middle, b), (end, c) = limb
            segments = np.linalg.norm([b - a, c - b], axis=1)
            if segments.min() == 0:
                continue
            stretches = np.log(segments / lengths)
            if np.abs(stretches).max() < np.log(MAX_STRETCH):
                slant = (c - b)[2] / segments[1]  # forward: a shank is upright, what includes the foot is not
                fits[start, middle, end] = float((stretches**2).sum() + slant**2)
    best = sorted(fits, key=fits.__getitem__)
    if not best or (len(best) > 1 and fits[best[1]] - fits[best[0]] < MARGIN):
        return None
    return best[0]


def read_head(bones: tuple[RestBone, ...], ends: np.ndarray, central: np.ndarray, shoulder_height: float) -> str | None:
    """The bone on the plane of symmetry, above the shoulders and below the crown, that begins where a head does."""
    number: int | None = int(np.where(central, ends[..., 1].max(axis=1), -np.inf).argmax())
    candidates = []
    while number is not None and ends[number, 0, 1] > shoulder_height - HEAD_RANGE:
        candidates.append((abs(ends[number, 0, 1] - CHIN_HEIGHT), bones[number].name))
        number = bones[number].parent
    misfit, name = min(candidates, default=(np.inf, None))
    return name if misfit < HEAD_RANGE else None
