"""The limbs and joints of a person as OpenPose draws them, in the order in which they are drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...protocol import (
    DRAWN,
    FACE_COLOUR,
    FACE_DISC_SHARE,
    FACE_DRAWN,
    HAND_COLOURS,
    HAND_LIMBS,
    HAND_LINE_SHARE,
    KEYPOINT_COLOURS,
    LIMB_BRIGHTNESS,
    LIMB_COLOURS,
    LIMBS,
    SMALLEST_FACE,
    Character,
    Keypoint,
    RenderRequest,
)
from ..colours import Colour

LINE_SHARE = 24 / 1024  # width of a limb over the short side of the picture, as `sdxl` was trained
REACH = 16  # a joint farther out than that many times the picture's side is not drawn; the backend has the same rule

Point = tuple[float, float]


@dataclass(frozen=True)
class Stroke:
    """An ellipse from `start` to `end`, px of the request's picture; a disc where they are one.

    seen: whether both of its ends are visible: not hidden, and inside the frame.
    width: over that of a body's limb.
    """

    start: Point
    end: Point
    colour: Colour
    seen: bool
    width: float = 1.0

    @property
    def is_joint(self) -> bool:
        return self.start == self.end and self.width == 1


def gather_strokes(request: RenderRequest, character: Character, details: bool = False) -> Iterator[Stroke]:
    """Limbs, then joints; with `details` the bones of the hands and the points of the face.

    What is missing or behind the camera has no stroke, nor has a limb that lacks an end.
    """
    joints = character.keypoints
    usable = find_usable(request, joints)
    yield from join(joints, usable, LIMBS, [to_unit(colour, LIMB_BRIGHTNESS) for colour in LIMB_COLOURS])
    for joint, colour, on in zip(joints, KEYPOINT_COLOURS, usable, strict=True):
        if on:
            yield Stroke((joint.x, joint.y), (joint.x, joint.y), to_unit(colour), joint.state == "visible")
    for hand in (character.right_hand, character.left_hand):
        if details and hand:
            colours = [to_unit(colour) for colour in HAND_COLOURS]
            yield from join(hand, find_usable(request, hand), HAND_LIMBS, colours, HAND_LINE_SHARE)

    if details and character.face:
        yield from mark_face(request, character.face)


def mark_face(request: RenderRequest, face: Sequence[Keypoint]) -> Iterator[Stroke]:
    """A disc for each point that is not hidden; none where the face is too small for them."""
    points = [(p.x, p.y) for p, on in zip(face, find_usable(request, face), strict=True) if on and p.state in FACE_DRAWN]
    if points and np.ptp(points, axis=0).max() >= SMALLEST_FACE * line_width_px(request):
        yield from (Stroke(point, point, to_unit(FACE_COLOUR), True, FACE_DISC_SHARE) for point in points)


def find_usable(request: RenderRequest, joints: Sequence[Keypoint]) -> list[bool]:
    """Which of `joints` have a place in the picture."""
    reach_px = REACH * max(request.width, request.height)
    return [joint.state in DRAWN and max(abs(joint.x), abs(joint.y)) < reach_px for joint in joints]


def join(
    joints: Sequence[Keypoint],
    usable: Sequence[bool],
    limbs: Sequence[tuple[int, int]],
    colours: Sequence[Colour],
    width: float = 1.0,
) -> Iterator[Stroke]:
    """A stroke for each of `limbs` that has both of its ends."""
    for (first, second), colour in zip(limbs, colours, strict=True):
        if usable[first] and usable[second]:
            one, other = joints[first], joints[second]
            yield Stroke((one.x, one.y), (other.x, other.y), colour, one.state == other.state == "visible", width)


def line_width_px(request: RenderRequest) -> float:
    return LINE_SHARE * min(request.width, request.height)


def to_unit(colour: tuple[int, ...], brightness: float = 1.0) -> Colour:
    red, green, blue = (int(channel * brightness) / 255 for channel in colour)
    return red, green, blue


def ellipse_axes(stroke: Stroke, width_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, and the halves of the long and the short axis, each (2,) px. width_px: of a body's limb."""
    start, end = np.array(stroke.start), np.array(stroke.end)
    half = (end - start) / 2
    length = float(np.hypot(*half))
    along = half / length if length > 0 else np.array([1.0, 0.0])
    radius = stroke.width * width_px / 2
    return (start + end) / 2, along * max(length, radius), np.array([-along[1], along[0]]) * radius
