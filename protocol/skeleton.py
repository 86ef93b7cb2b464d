"""How people are drawn as OpenPose does, whose pictures pose ControlNets were trained on: which joints, limbs and colours."""

import colorsys
import statistics

from .scene import Character, KeypointState

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


def depth_metres(character: Character) -> float:
    """How far away `character` stands: the median depth of the drawn joints. Who is farther is drawn first.

    Raises statistics.StatisticsError where none is drawn, which check_request refuses.
    """
    return statistics.median(joint.depth for joint in character.keypoints if joint.state in DRAWN)
