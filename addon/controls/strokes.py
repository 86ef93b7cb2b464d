"""The limbs and joints of a person as OpenPose draws them, in the order in which they are drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...protocol import (
    ANKLES,
    FACE_COLOUR,
    FACE_DISC_SHARE,
    FACE_DRAWN,
    FEET_COLOURS,
    FEET_LIMBS,
    HAND_COLOURS,
    HAND_JOINT_COLOUR,
    HAND_LIMBS,
    HAND_LINE_SHARE,
    KEYPOINT_COLOURS,
    LIMB_BRIGHTNESS,
    LIMB_COLOURS,
    LIMBS,
    SMALLEST_FACE,
    SMALLEST_HAND,
    Character,
    HiddenJoints,
    Keypoint,
    RenderRequest,
    darken,
    find_brightness,
)
from ..colours import Colour

Point = tuple[float, float]
RGB = tuple[int, ...]  # 0 to 255


@dataclass(frozen=True)
class Style:
    """How a model set wants its skeletons.

    line_share: width of a limb over the short side of the picture; as `sdxl` was trained, where no backend says another.
    hands, face, feet: whether they are drawn. hidden_joints: what becomes of those, where the request leaves it to the models.
    """

    line_share: float = 24 / 1024
    hands: bool = False
    face: bool = False
    feet: bool = False
    hidden_joints: HiddenJoints = "drop"


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


def gather_strokes(request: RenderRequest, character: Character, style: Style, details: bool = False) -> Iterator[Stroke]:
    """Limbs, then joints, as the models are shown them; with `details` the lines of hands and feet of any size, and faces.

    What is missing or behind the camera has no stroke, nor has a limb that lacks an end; `hidden_joints` of the settings says
    what becomes of joints that others hide.
    """
    joints, unit_px = character.keypoints, line_width_px(request, style)
    if character.feet and (details or style.feet):
        ends = (*(joints[ankle] for ankle in ANKLES), *character.feet)
        colours = [darken(colour, LIMB_BRIGHTNESS) for colour in FEET_COLOURS]
        yield from join(request, ends, FEET_LIMBS, colours, HAND_LINE_SHARE if details else 1.0)
        if not details:
            yield from mark(request, character.feet, FEET_COLOURS)
    yield from join(request, joints, LIMBS, [darken(colour, LIMB_BRIGHTNESS) for colour in LIMB_COLOURS])
    yield from mark(request, joints, KEYPOINT_COLOURS)
    for hand in (character.right_hand, character.left_hand):
        if hand and (details or (style.hands and span(request, hand) >= SMALLEST_HAND * unit_px)):
            yield from join(request, hand, HAND_LIMBS, HAND_COLOURS, HAND_LINE_SHARE)
            if not details:
                yield from mark(request, hand, [HAND_JOINT_COLOUR] * len(hand))
    face = [point for point in character.face or () if point.state in FACE_DRAWN]
    if (details or style.face) and span(request, face) >= SMALLEST_FACE * unit_px:
        yield from mark(request, face, [FACE_COLOUR] * len(face), FACE_DISC_SHARE)


def mark(request: RenderRequest, joints: Sequence[Keypoint], colours: Sequence[RGB], width: float = 1.0) -> Iterator[Stroke]:
    """A disc for each of `joints` that is drawn."""
    for joint, colour in zip(joints, colours, strict=True):
        if brightness := brightness_of(joint, request):
            place = joint.x, joint.y
            yield Stroke(place, place, to_unit(darken(colour, brightness)), joint.state == "visible", width)


def join(
    request: RenderRequest,
    joints: Sequence[Keypoint],
    limbs: Sequence[tuple[int, int]],
    colours: Sequence[RGB],
    width: float = 1.0,
) -> Iterator[Stroke]:
    """A stroke for each of `limbs` that has both of its ends."""
    for (first, second), colour in zip(limbs, colours, strict=True):
        start, end = joints[first], joints[second]
        if brightness := min(brightness_of(start, request), brightness_of(end, request)):
            seen = start.state == end.state == "visible"
            yield Stroke((start.x, start.y), (end.x, end.y), to_unit(darken(colour, brightness)), seen, width)


def brightness_of(joint: Keypoint, request: RenderRequest) -> float:
    """0 for what is not drawn."""
    assert request.settings.hidden_joints, "gather_controls says what the models want"
    return find_brightness(joint, request)


def span(request: RenderRequest, joints: Sequence[Keypoint]) -> float:
    """The longer side of the box around those of `joints` that are drawn, in px; 0 around none."""
    points = [(joint.x, joint.y) for joint in joints if brightness_of(joint, request)]
    return float(np.ptp(points, axis=0).max()) if points else 0.0


def line_width_px(request: RenderRequest, style: Style) -> float:
    return style.line_share * min(request.width, request.height)


def to_unit(colour: RGB) -> Colour:
    red, green, blue = (channel / 255 for channel in colour)
    return red, green, blue


def ellipse_axes(stroke: Stroke, width_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, and the halves of the long and the short axis, each (2,) px. width_px: of a body's limb."""
    start, end = np.array(stroke.start), np.array(stroke.end)
    half = (end - start) / 2
    length = float(np.hypot(*half))
    along = half / length if length > 0 else np.array([1.0, 0.0])
    radius = stroke.width * width_px / 2
    return (start + end) / 2, along * max(length, radius), np.array([-along[1], along[0]]) * radius
