"""The pose picture has the standard colours, in the right places, at the right width."""

import colorsys
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from beyondscene.backend.pose import (
    HAND_JOINT_COLOUR,
    KEYPOINT_COLOURS,
    LIMB_BRIGHTNESS,
    LIMB_COLOURS,
    LIMBS,
    _bars,
    _ellipses,
    draw_pose,
)
from beyondscene.protocol import FEET_NAMES, KEYPOINT_NAMES


def place(points: dict[str, tuple[float, float]]) -> np.ndarray:
    """A person of whom only `points` are drawn."""
    person = np.zeros((18, 3))
    for name, (x, y) in points.items():
        person[KEYPOINT_NAMES.index(name)] = x, y, 1
    return person


# limbSeq of OpenPose and of ControlNet's annotator, in whose order the hue turns by 20 degrees, as over the joints in theirs
CHAINS = ("Neck RShoulder", "Neck LShoulder", "RShoulder RElbow RWrist", "LShoulder LElbow LWrist", "Neck RHip RKnee RAnkle",
          "Neck LHip LKnee LAnkle", "Neck Nose REye REar", "Nose LEye LEar")  # fmt: skip
PAIRS = [pair for chain in CHAINS for pair in pairwise(chain.split())]


@pytest.mark.parametrize(("number", "pair"), [*enumerate(PAIRS)], ids=[*map("-".join, PAIRS)])
def test_limb_and_joints_have_the_colours_that_controlnets_were_trained_on(number: int, pair: tuple[str, str]) -> None:
    def hue(place: int, brightness: float = 1) -> tuple[int, ...]:
        return tuple(int(round(255 * channel) * brightness) for channel in colorsys.hsv_to_rgb(place / 18, 1, 1))

    picture = draw_pose([place({pair[0]: (20.5, 30.5), pair[1]: (90.5, 30.5)})], 120, 60, 6)
    assert picture.shape == (60, 120, 3)
    assert [tuple(picture[30, x]) for x in (20, 90)] == [hue(KEYPOINT_NAMES.index(name)) for name in pair]
    assert tuple(picture[30, 55]) == hue(number, 0.6)
    assert np.count_nonzero(picture[:, 55].any(axis=1)) in range(6, 10)  # six wide, and antialiased


def test_a_limb_needs_both_ends() -> None:
    picture = draw_pose([place({"LKnee": (30, 30)})], 60, 60, 4)
    assert 10 < np.count_nonzero(picture.any(axis=2)) < 45  # the joint alone


def test_a_limb_crosses_the_border() -> None:
    picture = draw_pose([place({"Neck": (-50, 30), "RShoulder": (50, 30)})], 40, 60, 4)
    assert picture[28:32, :30].any()
    assert not picture[:20].any()


def test_a_limb_crosses_a_view_that_is_far_from_its_ends() -> None:
    """As in a small corner of a canvas of 16384 px."""
    picture = draw_pose([place({"Neck": (128, -9000), "RHip": (128, 7000)})], 256, 256, 4)
    assert (picture.any(axis=2).sum(axis=1) >= 4).all()


def test_later_people_cover_earlier_ones() -> None:
    far, near = place({"Nose": (20.5, 20.5)}), place({"LWrist": (20.5, 20.5)})
    assert tuple(draw_pose([far, near], 40, 40, 4)[20, 20]) == KEYPOINT_COLOURS[7]


def test_enlarging_keeps_the_line_width() -> None:
    person = place({"Neck": (10, 20), "RHip": (30, 20)})
    small = draw_pose([person], 64, 64, 4)
    large = draw_pose([person * (4, 4, 1)], 256, 256, 4)
    assert np.count_nonzero(small[:, 20].any(axis=1)) == np.count_nonzero(large[:, 80].any(axis=1))


@pytest.mark.parametrize("x", [np.nan, np.inf, 1e12])
def test_impossible_points_are_left_out(x: float) -> None:
    assert not draw_pose([place({"Neck": (x, 20), "RHip": (x, 30)})], 64, 64, 4).any()
    half, alone = ({"Neck": (20.5, 20.5)} | more for more in ({"RHip": (x, 30.5)}, {}))
    np.testing.assert_array_equal(draw_pose([place(half)], 64, 64, 4), draw_pose([place(alone)], 64, 64, 4))


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(18, 3\)"):
        draw_pose([np.zeros((25, 3))], 64, 64, 4)


def with_hands(size_px: float) -> np.ndarray:
    """A person with nothing but a right hand whose fingers fan out `size_px` to the right of (20.5, 40.5)."""
    person = np.zeros((60, 3))
    for finger in range(5):
        for joint in range(1, 5):
            person[18 + 4 * finger + joint] = 20.5 + size_px * joint / 4, 40.5 + size_px * (finger - 2) / 4 * joint / 4, 1
    person[18] = 20.5, 40.5, 1
    return person


def test_hands_are_drawn_as_openpose_draws_them() -> None:
    picture = draw_pose([with_hands(80)], 120, 80, 8)
    assert tuple(picture[40, 20]) == tuple(picture[40, 60]) == HAND_JOINT_COLOUR  # wrist, and half of the middle finger
    for number, x in enumerate((34, 54, 74, 94), start=8):  # of the middle finger, from the wrist on
        colour = colorsys.hsv_to_rgb(number / 20, 1, 1)
        assert tuple(picture[40, x]) == tuple(int(255 * channel) for channel in colour)
    assert 2 <= np.count_nonzero(picture[37:44, 50].any(axis=1)) <= 5  # a quarter of a limb wide, and antialiased


def test_a_hand_too_small_to_be_found_in_training_pictures_is_left_out() -> None:
    assert not draw_pose([with_hands(18)], 120, 80, 8).any()
    assert draw_pose([with_hands(22)], 120, 80, 8).any()


def with_face(size_px: float) -> np.ndarray:
    """A person with nothing but a face of 70 points, in seven rows of ten, from (20.5, 20.5) on."""
    person = np.zeros((130, 3))
    for point in range(70):
        person[60 + point] = 20.5 + size_px * (point % 10) / 9, 20.5 + size_px * (point // 10) / 9, 1
    return person


def test_a_face_is_white_discs_over_everything_else() -> None:
    person = with_face(90)
    person[0] = 20.5, 20.5, 1  # the nose
    picture = draw_pose([person], 120, 120, 8)
    assert tuple(picture[20, 20]) == tuple(picture[20, 110]) == (255, 255, 255)
    assert np.count_nonzero(picture[20, 105:116].any(axis=1)) in range(6, 10)  # three quarters of a limb, and antialiased
    assert not picture[25, 40:].any()  # between two rows
    person[60:, 2] = 0
    assert not draw_pose([person], 120, 120, 8)[:, 40:].any()


def test_a_face_too_small_for_dots_is_left_out() -> None:
    assert not draw_pose([with_face(18)], 120, 80, 8).any()
    assert draw_pose([with_face(22)], 120, 80, 8).any()


def test_feet_are_drawn_as_openpose_draws_them_and_belong_to_their_ankles() -> None:
    person = np.zeros((136, 3))
    person[KEYPOINT_NAMES.index("LAnkle")] = 20.5, 20.5, 1
    person[130] = 60.5, 20.5, 1  # the left big toe
    person[135] = 60.5, 60.5, 1  # the right heel, whose ankle is nowhere
    picture = draw_pose([person], 80, 80, 8)
    assert tuple(picture[20, 20]) == KEYPOINT_COLOURS[13] and tuple(picture[20, 60]) == (0, 0, 255)
    assert tuple(picture[20, 40]) == (0, 0, int(255 * LIMB_BRIGHTNESS))
    assert tuple(picture[60, 60]) == (0, 255, 255) and not picture[30:50].any()
    names = (*KEYPOINT_NAMES, *FEET_NAMES)
    for side, colour in (("L", (0, 0, 153)), ("R", (0, 153, 153))):
        for start, end in (("Ankle", "BigToe"), ("BigToe", "SmallToe"), ("Ankle", "Heel")):
            person[:] = 0
            for name, x in ((start, 20.5), (end, 60.5)):
                place_of = names.index(side + name)
                person[place_of if place_of < 18 else place_of + 112] = x, 20.5, 1
            assert tuple(draw_pose([person], 80, 80, 8)[20, 40]) == colour


def test_darker_joints_darken_their_limbs_and_keep_their_hue() -> None:
    person = place({"RShoulder": (20.5, 30.5), "RElbow": (60.5, 30.5), "RWrist": (60.5, 70.5)})
    person[KEYPOINT_NAMES.index("RElbow"), 2] = 0.5
    picture = draw_pose([person], 80, 80, 6)
    assert tuple(picture[30, 20]) == KEYPOINT_COLOURS[2]
    assert tuple(picture[30, 60]) == tuple(channel // 2 for channel in KEYPOINT_COLOURS[3])
    assert tuple(picture[30, 40]) == tuple(int(channel * LIMB_BRIGHTNESS / 2) for channel in LIMB_COLOURS[LIMBS.index((2, 3))])


def test_other_numbers_of_joints_are_refused() -> None:
    with pytest.raises(ValueError, match="with hands"):
        draw_pose([np.zeros((39, 3))], 40, 40, 4)


@pytest.mark.parametrize("outlines", [_bars, _ellipses])
def test_outlines_found_at_once_are_those_found_one_by_one(outlines: Callable[..., np.ndarray]) -> None:
    """Bit for bit, since weights were trained on such pictures."""
    starts, ends = np.random.default_rng(0).uniform(-50, 300, (2, 40, 2))
    ends[7] = starts[7]
    together = outlines(starts, ends, 2.5)
    assert all(np.array_equal(together[[row]], outlines(starts[[row]], ends[[row]], 2.5)) for row in range(40))
    assert np.isfinite(together).all() and np.allclose(together.mean(1), (starts + ends) / 2)
