"""How people are drawn as OpenPose does, whose pictures pose ControlNets were trained on: which joints, limbs and colours."""

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


def depth_metres(character: Character) -> float:
    """How far away `character` stands: the median depth of the drawn joints. Who is farther is drawn first.

    Raises statistics.StatisticsError where none is drawn, which check_request refuses.
    """
    return statistics.median(joint.depth for joint in character.keypoints if joint.state in DRAWN)
