"""Joints of a rig with unknown names, from the shape of its rest pose. No bpy.

A person is symmetric, stands on one pair of legs, has one pair of arms, and carries the head on top. What is not plainly so
gets no guess: a second pair on the ground, no foot to say where the front is, or limbs far from human proportions.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from .family import Anchor, Match

LABEL = "by shape"
MARGIN = 0.01  # by which the best reading of a limb must be better than the next; sum of squares
TOLERANCE = 0.01  # two points mirror each other; of the largest extent
GROUND = 0.1  # a limb that ends below this height stands on the ground; of the stature, like all that follows
BESIDE = 0.03  # a limb begins at least so far from the plane of symmetry
SHORTEST_FOOT = 0.05
HEAD_HEIGHTS = (0.80, 0.94)  # between which the head begins; the chin is at 0.87
FEWEST_BONES = 14
MOST_BONES = 1000  # that a person has: all pairs of bones are compared
DEEPEST = 100  # bones on the way from a person's root to any other
LONGEST_LIMB = 30  # bones, of which each three are tried
FEWEST_FINGERS = 3  # a bone with that many others below it is the hand
MOST_BENT = np.cos(np.radians(120))  # of the angle at the hips, from shoulders to feet: 100° in a cat, 170° in a person

Below = dict[int, list[int]]  # bone to its children
Limb = tuple[Anchor, Anchor, Anchor]  # shoulder, elbow, wrist; or hip, knee, ankle


class Proportions(NamedTuple):
    """What tells a limb: shares of the stature, and how many times longer or shorter each may be.

    The first is what `first` gives for the three joints, the others are the upper and the lower segment.
    """

    first: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    shares: tuple[float, float, float]
    limits: tuple[float, float, float]


# Shares: Drillis and Contini, Body Segment Parameters (1966), as in Winter, Biomechanics, figure 4.1.
ARM = Proportions(lambda shoulder, elbow, wrist: abs(shoulder[0]), (0.129, 0.186, 0.146), (2.0, 2.0, 2.0))  # half the breadth
LEG = Proportions(lambda hip, knee, ankle: ankle[1], (0.039, 0.245, 0.246), (3.0, 1.5, 1.5))  # height of the ankle


class RestBone(NamedTuple):
    """A bone in the rest pose; head and tail in any one frame and unit."""

    name: str
    parent: int | None  # its place in the list
    head: tuple[float, ...]
    tail: tuple[float, ...]


@lru_cache(maxsize=64)  # the panel asks again at every redraw
def guess_by_shape(bones: tuple[RestBone, ...]) -> Match | None:
    """The joints of `bones`, or None where they are not plainly a person in one way only."""
    if not FEWEST_BONES <= len(bones) <= MOST_BONES or depth_of(bones) > DEEPEST:
        return None
    ends = np.array([[bone.head, bone.tail] for bone in bones])
    below: Below = {number: [] for number in range(len(bones))}
    for number, bone in enumerate(bones):
        if bone.parent is not None:
            below[bone.parent].append(number)
    guesses = [guess for frame in upright_frames() if (guess := read_body(bones, ends @ frame.T, below))]
    return Match(LABEL, guesses[0], guessed=True) if len(guesses) == 1 else None


def depth_of(bones: tuple[RestBone, ...]) -> int:
    """How many bones the lowest of `bones`, of which parents come before children, has above it."""
    depths: list[int] = []
    for bone in bones:
        depths.append(0 if bone.parent is None else depths[bone.parent] + 1)
    return max(depths)


def rests_upright(rest: Mapping[str, np.ndarray]) -> bool:
    """Whether these joints are those of a person at rest: with arms and legs, on either side of the hips, be that standing or
    lying; one half of the body will do.

    rest: places by role, (3,) each, in any one frame and unit.
    """

    def middle(*joints: str) -> np.ndarray | None:
        """Of the first of `joints` that there is, on whichever sides."""
        places = ([rest[side + joint] for side in "RL" if side + joint in rest] for joint in joints)
        return next((np.mean(found, axis=0) for found in places if found), None)

    shoulders, arms, hips, feet = middle("Shoulder"), middle("Wrist", "Elbow"), middle("Hip"), middle("Ankle", "Knee")
    if shoulders is None or arms is None or hips is None or feet is None:
        return False
    trunk, legs = shoulders - hips, feet - hips
    return bool(trunk @ legs < MOST_BENT * np.linalg.norm(trunk) * np.linalg.norm(legs))


def upright_frames() -> Iterator[np.ndarray]:
    """Right-handed frames (3, 3) along the axes; rows: across the plane of symmetry, up, forward or backward."""
    axes = np.eye(3)
    for across in range(3):
        for up in {0, 1, 2} - {across}:
            for sign in (1, -1):
                yield np.array([axes[across], sign * axes[up], np.cross(axes[across], sign * axes[up])])


def read_body(bones: tuple[RestBone, ...], ends: np.ndarray, below: Below) -> dict[str, Anchor] | None:
    """Anchors by role, if `bones` are a person upright in the frame of `ends`.

    ends: (bones, 2, 3): head and tail; across, up, forward or backward.
    """
    ends = ends - (np.median(ends[..., 0]), 0, 0)
    numbers = np.arange(len(bones))
    partners = mirror_images(ends)
    paired, central = (partners >= 0) & (partners != numbers), partners == numbers
    if paired.mean() < 0.5 or not central.any():
        return None
    ground, crown = ends[paired, :, 1].min(), ends[central, :, 1].max()
    if crown <= ground:
        return None
    ends = (ends - (0, ground, 0)) / (crown - ground)

    inside = [bone for bone in numbers[paired] if bones[bone].parent is not None and paired[bones[bone].parent]]
    tops = [bone for bone in numbers[paired] if bone not in inside and ends[bone, 1, 0] > 0]
    standing = [top for top in tops if ends[subtree(top, below), :, 1].min() < GROUND]
    if len(standing) != 1:
        return None
    leg = read_limb(standing[0], LEG, bones, ends, below)
    arms = [limb for top in tops if top not in standing and (limb := read_limb(top, ARM, bones, ends, below))]
    if leg is None or len(arms) != 1:
        return None
    roles = dict(zip(("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"), (*arms[0], *leg), strict=True))
    number = {bone.name: index for index, bone in enumerate(bones)}
    place = {part: ends[number[at.bone], int(at.end == "tail")] for part, at in roles.items()}
    foot = ends[subtree(number[roles["Ankle"].bone], below), 1, 2] - place["Ankle"][2]
    reach = foot[np.abs(foot).argmax()]
    head = read_head(bones, ends, central, place["Shoulder"][1])
    if abs(reach) < SHORTEST_FOOT or head is None or place["Shoulder"][1] < place["Hip"][1]:
        return None
    side, other = ("L", "R") if reach > 0 else ("R", "L")  # of the half where the first axis is positive
    anchors = {"Head": Anchor(head)}
    for part, at in roles.items():
        anchors[side + part] = at
        anchors[other + part] = Anchor(bones[partners[number[at.bone]]].name, at.end)
    return anchors


def mirror_images(ends: np.ndarray) -> np.ndarray:
    """For each bone the one that lies where its mirror image does: itself on the plane of symmetry, -1 where there is none."""
    flat = ends.reshape(len(ends), 6)
    mirrored = (ends * (-1, 1, 1)).reshape(len(ends), 6)
    distances = np.abs(mirrored[:, None] - flat[None]).max(axis=-1)
    nearest = distances.argmin(axis=1)
    close = distances[np.arange(len(ends)), nearest] < TOLERANCE * np.ptp(ends.reshape(-1, 3), axis=0).max()
    return np.where(close & (nearest[nearest] == np.arange(len(ends))), nearest, -1)


def subtree(top: int, below: Below) -> list[int]:
    """`top` and all that hangs from it."""
    return [top, *(bone for child in below[top] for bone in subtree(child, below))]


def chains(top: int, below: Below) -> Iterator[list[int]]:
    """Each way from `top` down to a bone without children."""
    for child in below[top]:
        for chain in chains(child, below):
            yield [top, *chain]
    if not below[top]:
        yield [top]


def read_limb(top: int, proportions: Proportions, bones: tuple[RestBone, ...], ends: np.ndarray, below: Below) -> Limb | None:
    """The three joints below `top` that fit `proportions` best; None where none does, or another does about as well."""
    hand = max(subtree(top, below), key=lambda bone: len(below[bone]))
    fits: dict[bytes, tuple[float, Limb]] = {}  # by place: a thumb that begins at the wrist is no other reading
    for chain in chains(top, below):
        if len(below[hand]) >= FEWEST_FINGERS:
            chain = chain[: chain.index(hand) + 1] if hand in chain else []
        if len(chain) > LONGEST_LIMB:
            continue
        joints = [(Anchor(bones[bone].name), ends[bone, 0]) for bone in chain]
        if chain and chain[-1] != hand:
            joints.append((Anchor(bones[chain[-1]].name, "tail"), ends[chain[-1], 1]))
        for limb in combinations(joints, 3):
            (start, a), (middle, b), (end, c) = limb
            lengths = np.array([proportions.first(a, b, c), *np.linalg.norm([b - a, c - b], axis=1)])
            if lengths.min() <= 0 or abs(a[0]) < BESIDE:
                continue
            misfits = np.log(lengths / proportions.shares)
            if (np.abs(misfits) < np.log(proportions.limits)).all():
                slant = (c - b)[2] / lengths[2]  # forward: a shank is upright, what includes the foot is not
                place = (np.round((a, b, c), 3) + 0.0).tobytes()  # + 0.0: no -0.0
                fits.setdefault(place, (float((misfits**2).sum() + slant**2), (start, middle, end)))
    best = sorted(fits.values(), key=lambda fit: fit[0])
    if not best or (len(best) > 1 and best[1][0] - best[0][0] < MARGIN):
        return None
    return best[0][1]


def read_head(bones: tuple[RestBone, ...], ends: np.ndarray, central: np.ndarray, shoulder_height: float) -> str | None:
    """The bone below the crown, above the shoulders, that begins where a head does; the higher where two do."""
    number: int | None = int(np.where(central, ends[..., 1].max(axis=1), -np.inf).argmax())
    while number is not None and ends[number, 0, 1] > max(shoulder_height, HEAD_HEIGHTS[0]):
        if ends[number, 0, 1] < HEAD_HEIGHTS[1]:
            return bones[number].name
        number = bones[number].parent
    return None
