"""Where the people of a request are, in pixels and in depth."""

from dataclasses import dataclass

import numpy as np

from ...protocol import (
    DRAWN,
    FACE_DRAWN,
    FACE_NAMES,
    FEET_NAMES,
    HAND_NAMES,
    HIDDEN_BRIGHTNESS,
    KEYPOINT_NAMES,
    LIMBS,
    Character,
    HiddenJoints,
    Keypoint,
    ModelSetInfo,
    RenderRequest,
    depth_metres,
    is_behind_backdrop,
    is_hidden,
)
from ...protocol.check import SMALLEST_PX
from ..models.manifest import Manifest

MISSING = Keypoint(x=0, y=0, depth=0, state="missing")
NO_HAND, NO_FACE, NO_FEET = ((MISSING,) * len(names) for names in (HAND_NAMES, FACE_NAMES, FEET_NAMES))
NOSE, NECK = KEYPOINT_NAMES.index("Nose"), KEYPOINT_NAMES.index("Neck")


@dataclass(frozen=True)
class Person:
    """A character with its joints as an array.

    keypoints: float64 (18, 3), x_px and y_px at the requested size, and 1 where the joint is drawn; (60, 3) where the right
        and the left hand follow; (130, 3) where the face follows these, and (136, 3) where the feet do.
    portrait_keypoints: the same for whoever draws the person alone, see `within_reach`.
    hidden: bool, as many: which of them are behind somebody else or the set, or on the far side of the head.
    far_side: bool, as many: which of them are on the far side of the head.
    behind_backdrop: bool, as many: see `is_behind_backdrop`.
    depth_m: median depth of the drawn joints.
    """

    character: Character
    keypoints: np.ndarray
    portrait_keypoints: np.ndarray
    hidden: np.ndarray
    far_side: np.ndarray
    behind_backdrop: np.ndarray
    depth_m: float

    def among_others(self, hidden_joints: HiddenJoints | None) -> np.ndarray:
        """The keypoints as the whole picture has them: the third column is how bright, see HIDDEN_BRIGHTNESS."""
        keypoints = darkened(self.keypoints, self.hidden, hidden_joints)
        keypoints[self.behind_backdrop, 2] = 0
        return keypoints

    def alone(self, hidden_joints: HiddenJoints | None) -> np.ndarray:
        """The same of the portrait's, where nobody and nothing is before the person."""
        return darkened(self.portrait_keypoints, self.far_side, hidden_joints)


@dataclass(frozen=True)
class Figure:
    """A person as seen in the base image, after nearer ones covered them. masks: bool (H, W) of the base image."""

    person: Person
    mask: np.ndarray
    parts: dict[str, np.ndarray]


def gather_people(request: RenderRequest, models: Manifest | ModelSetInfo | None = None) -> list[Person]:
    """The people of `request`, far to near, so that who is drawn later covers who was drawn before.

    models: say whether hands, face and feet are drawn; the keypoints have the body alone where nothing more is, or for None.
    """
    hands, face, feet = (models.pose_hands, models.pose_face, models.pose_feet) if models else (False, False, False)
    people = []
    for character in request.characters:
        joints = [(joint, DRAWN) for joint in character.keypoints]
        if hands or face or feet:
            of_hands = (*(character.right_hand or NO_HAND), *(character.left_hand or NO_HAND))
            joints += ((joint if hands else MISSING, DRAWN) for joint in of_hands)
        if face or feet:
            joints += ((point if face else MISSING, FACE_DRAWN) for point in character.face or NO_FACE)
        if feet:
            joints += ((point, DRAWN) for point in character.feet or NO_FEET)
        keypoints = np.array([(joint.x, joint.y, joint.state in drawn) for joint, drawn in joints], np.float64)
        hidden = np.array([is_hidden(joint) for joint, _ in joints])
        far_side = np.array([joint.hidden_by == "own_head" for joint, _ in joints])
        behind = np.array([is_behind_backdrop(joint, request) for joint, _ in joints])
        near = within_reach(keypoints, request.width, request.height)
        people.append(Person(character, keypoints, near, hidden, far_side, behind, depth_metres(character)))
    return sorted(people, key=lambda person: -person.depth_m)


def within_reach(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    """`keypoints`, (N, 3), without what is farther outside a picture of `width` x `height` px than half its longer side.

    A limb that comes from there begins at that border; a body that is out there as a whole stays as it is. Else a hand just
    before the camera, or the feet below a close-up, would leave the part of a portrait that is seen a few pixels.
    """
    reach = max(width, height) / 2
    low, high = np.array([-reach, -reach]), np.array([width + reach, height + reach])
    drawn = keypoints[:, 2] > 0
    inside = drawn & ((keypoints[:, :2] >= low) & (keypoints[:, :2] <= high)).all(axis=1)
    if not inside.any():
        return keypoints
    near = keypoints.copy()
    near[~inside, 2] = 0
    for start, end in (*LIMBS, *(limb[::-1] for limb in LIMBS)):
        if inside[start] and drawn[end] and not inside[end]:
            near[end] = (*cut(keypoints[start, :2], keypoints[end, :2], low, high), keypoints[end, 2])
    left = near[near[:, 2] > 0, :2]
    if np.ptp(left, axis=0).max() < SMALLEST_PX:  # a joint or two alone are nobody: no limb leads to the others
        for end in np.flatnonzero(drawn & ~inside):
            near[end] = (*cut(left.mean(0), keypoints[end, :2], low, high), keypoints[end, 2])
    return near


def cut(start: np.ndarray, end: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where the way from `start`, within, to `end`, beyond, crosses the border of the box from `low` to `high`."""
    along = end - start
    room = np.where(along > 0, high, low) - start
    return start + np.divide(room, along, out=np.ones(2), where=along != 0).min() * along


def darkened(keypoints: np.ndarray, which: np.ndarray, hidden_joints: HiddenJoints | None) -> np.ndarray:
    """`keypoints`, float64 (N, 3), of which those in `which`, bool (N,), are as bright as `hidden_joints` says; None, which
    `resolve_settings` replaces, is "keep"."""
    keypoints = keypoints.copy()
    keypoints[which, 2] *= HIDDEN_BRIGHTNESS[hidden_joints or "keep"]
    return keypoints


def scaled(keypoints: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    """The same joints, (N, 3), in a picture that is wider and higher by these factors."""
    return keypoints * (scale_x, scale_y, 1)


def bounding_box(keypoints: np.ndarray) -> tuple[float, float, float, float]:
    """left, top, right, bottom of a body in pixels: the drawn joints and the crown of the head, which has no joint.

    keypoints: (N, 3), N as in Person, of which at least one is drawn.
    """
    points = keypoints[keypoints[:, 2] > 0, :2]
    if keypoints[NOSE, 2] > 0 and keypoints[NECK, 2] > 0:
        # from the nose to the crown is about as far as from the nose to the neck
        points = np.vstack([points, 2 * keypoints[NOSE, :2] - keypoints[NECK, :2]])
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return float(left), float(top), float(right), float(bottom)
