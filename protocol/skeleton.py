"""How people are drawn as OpenPose does, whose pictures pose ControlNets were trained on: which joints, limbs and colours."""

import colorsys
import statistics
from collections.abc import Sequence

from .scene import Character, Keypoint, KeypointState, RenderRequest
from .settings import HiddenJoints

DRAWN: tuple[KeypointState, ...] = ("visible", "occluded", "outside")  # the others have no place in the picture plane

# Pairs of places in KEYPOINT_NAMES; limb i has LIMB_COLOURS[i].
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip

# RGB, in the order of KEYPOINT_NAMES: the hue circle.
KEYPOINT_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
LIMB_COLOURS = KEYPOINT_COLOURS[: len(LIMBS)]
LIMB_BRIGHTNESS = 0.6  # of a limb's colour in the picture

# Of one hand: pairs of places in HAND_NAMES, each finger from the wrist. As in ControlNet's annotator (draw_handpose), where a
# body's limb is 8 px wide: lines of a quarter of that, discs as wide, and no hand that is less than 20 px in size.
HAND_LIMBS = tuple(
    (0 if joint == 1 else first + joint - 2, first + joint - 1) for first in range(1, 21, 4) for joint in range(1, 5)
)
HAND_COLOURS = tuple(
    tuple(int(255 * channel) for channel in colorsys.hsv_to_rgb(limb / len(HAND_LIMBS), 1, 1))
    for limb in range(len(HAND_LIMBS))
)
HAND_JOINT_COLOUR = (0, 0, 255)
HAND_LINE_SHARE = 0.25  # of the width of a body's limb
SMALLEST_HAND = 2.5  # of that width

# Of a face: white discs of 6 px where a body's limb is 8 px wide (draw_facepose), and no face that is less than 20 px in size.
# A detector finds no point that is hidden, least of all on the back of a head.
FACE_DRAWN: tuple[KeypointState, ...] = ("visible", "outside")
FACE_COLOUR = (255, 255, 255)
FACE_DISC_SHARE = 0.75  # of the width of a body's limb
SMALLEST_FACE = 2.5  # of that width

# Of the feet, as OpenPose draws BODY_25 (poseParametersRender.hpp), with limbs and discs as wide as the body's: pairs of places
# in the left ankle, the right ankle and FEET_NAMES.
ANKLES = (13, 10)  # in KEYPOINT_NAMES
FEET_LIMBS = ((0, 2), (2, 3), (0, 4), (1, 5), (5, 6), (1, 7))
FEET_COLOURS = ((0, 0, 255),) * 3 + ((0, 255, 255),) * 3  # of the limbs, and of the points in the order of FEET_NAMES

HEAD_NAMES = ("Nose", "REye", "LEye", "REar", "LEar")

# How bright a joint is drawn that is_hidden, by `hidden_joints` of the settings; a limb is as bright as the darker of its ends.
# MimicMotion (arXiv 2406.19680) darkens by a detector's confidence in the same way.
HIDDEN_BRIGHTNESS: dict[HiddenJoints, float] = {"keep": 1.0, "dim": 0.5, "drop": 0.0}


def is_hidden(joint: Keypoint) -> bool:
    """Whether a detector would not find `joint`: it tells where an arm is behind its own back, but finds no face on the back of
    a head."""
    return joint.state == "occluded" and joint.hidden_by != "own_body"


def is_behind_backdrop(joint: Keypoint, request: RenderRequest) -> bool:
    """Whether `joint` is behind the set where a backdrop shows the set: drawn, it would call a limb forth in front of it."""
    return request.backdrop is not None and joint.hidden_by == "prop"


def find_brightness(joint: Keypoint, request: RenderRequest) -> float:
    """Of `joint` in a skeleton of `request`, 0 to 1; 0 where it has no place in the picture plane, or is left out.

    Where `hidden_joints` is left open, hidden ones are left out, as a detector does.
    """
    if joint.state not in DRAWN or is_behind_backdrop(joint, request):
        return 0.0
    return HIDDEN_BRIGHTNESS[request.settings.hidden_joints or "drop"] if is_hidden(joint) else 1.0


def darken(colour: tuple[int, ...], brightness: float) -> tuple[int, ...]:
    """RGB, 0 to 255, of which a share is left."""
    return tuple(int(channel * brightness) for channel in colour)


def depth_metres(character: Character) -> float:
    """How far away `character` stands: the median depth of the drawn joints. Who is farther is drawn first.

    Raises statistics.StatisticsError where none is drawn, which check_request refuses.
    """
    return statistics.median(joint.depth for joint in character.keypoints if joint.state in DRAWN)


def span_px(keypoints: Sequence[Keypoint]) -> float:
    """The taller side of the box around the joints that are drawn, of which there is at least one; pixels of the picture."""
    drawn = [joint for joint in keypoints if joint.state in DRAWN]
    return max(max(side) - min(side) for side in ([joint.x for joint in drawn], [joint.y for joint in drawn]))
