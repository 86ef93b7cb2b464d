"""Draw COCO-18 skeletons as the pose-control picture that pose ControlNets are trained on."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ..protocol import (
    ANKLES,
    FACE_COLOUR,
    FACE_DISC_SHARE,
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
    darken,
)

_SUBPIXEL_BITS = 4  # cv2 draws at 1/16 px
REACH_PX = 2**20  # of any canvas, of which a view may be a corner: limbs come from far away

Colour = tuple[int, ...]  # RGB, 0 to 255
Points = npt.NDArray[np.float64]  # (N, 2), px

_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])


def draw_pose(
    people: Sequence[npt.NDArray[np.floating]],
    width_px: int,
    height_px: int,
    line_width_px: int,
) -> npt.NDArray[np.uint8]:
    """Return the pose-control picture of `people`, drawn in the order given (sort far to near).

    people: float (18, 3) each: x_px, y_px (origin at the top left corner, y down; may lie outside
        the picture), brightness (1, or 0 for what is left out). A limb needs both of its ends, and is as
        bright as the darker one. Or (60, 3): then the right and the left hand follow, 21 joints each.
        Or (130, 3): then the face follows, too. Or (136, 3): and then the feet.
    line_width_px: the width of a limb and of a joint disc, the same whatever the distance.
    returns: uint8 (height_px, width_px, 3), RGB, black where there is no limb.
    """
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    for keypoints in people:
        if keypoints.shape not in ((18, 3), (60, 3), (130, 3), (136, 3)):
            raise ValueError(
                "a person's keypoints must have shape (18, 3), (60, 3) with hands, (130, 3) with a face or (136, 3) with feet "
                f"as well, got {keypoints.shape}"
            )
        keypoints = np.asarray(keypoints, np.float64)
        if len(keypoints) == 136:
            feet = keypoints[[*ANKLES, *range(130, 136)]]
            _draw_body(picture, feet, FEET_LIMBS, FEET_COLOURS, range(2, 8), FEET_COLOURS, line_width_px)
        _draw_body(picture, keypoints[:18], LIMBS, LIMB_COLOURS, range(18), KEYPOINT_COLOURS, line_width_px)
        for first in range(18, min(len(keypoints), 60), 21):
            _draw_hand(picture, keypoints[first : first + 21], line_width_px)
        _draw_face(picture, keypoints[60:130], line_width_px)
    return picture


def _draw_body(
    picture: npt.NDArray[np.uint8],
    keypoints: npt.NDArray[np.float64],
    limbs: Sequence[tuple[int, int]],
    limb_colours: Sequence[Colour],
    discs: Sequence[int],
    disc_colours: Sequence[Colour],
    line_width_px: int,
) -> None:
    """Ellipses for `limbs`, then discs at the places `discs` of `keypoints`."""
    usable, brightness = _usable(keypoints), keypoints[:, 2]
    drawn = [
        (start, end, darken(colour, LIMB_BRIGHTNESS * min(brightness[start], brightness[end])))
        for (start, end), colour in zip(limbs, limb_colours, strict=True)
        if usable[start] and usable[end]
    ]
    drawn += [
        (place, place, darken(colour, brightness[place]))
        for place, colour in zip(discs, disc_colours, strict=True)
        if usable[place]
    ]
    starts, ends = (keypoints[[ellipse[end] for ellipse in drawn], :2] for end in (0, 1))
    _fill(picture, _ellipses(starts, ends, line_width_px / 2), [colour for *_, colour in drawn])


def _draw_hand(picture: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float64], line_width_px: int) -> None:
    usable = _usable(keypoints)
    if _span_px(keypoints[usable]) < SMALLEST_HAND * line_width_px:
        return
    drawn = [
        (start, end, darken(colour, min(keypoints[start, 2], keypoints[end, 2])))
        for (start, end), colour in zip(HAND_LIMBS, HAND_COLOURS, strict=True)
        if usable[start] and usable[end]
    ]
    starts, ends = (keypoints[[bar[end] for bar in drawn], :2] for end in (0, 1))
    _fill(picture, _bars(starts, ends, line_width_px * HAND_LINE_SHARE / 2), [colour for *_, colour in drawn])
    points, brightness = keypoints[usable, :2], keypoints[usable, 2]
    _fill(picture, _ellipses(points, points, line_width_px / 2), [darken(HAND_JOINT_COLOUR, one) for one in brightness])


def _draw_face(picture: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float64], line_width_px: int) -> None:
    usable = _usable(keypoints)
    if _span_px(keypoints[usable]) < SMALLEST_FACE * line_width_px:
        return
    points = keypoints[usable, :2]
    _fill(picture, _ellipses(points, points, line_width_px * FACE_DISC_SHARE / 2), [FACE_COLOUR] * len(points))


def _span_px(keypoints: npt.NDArray[np.float64]) -> float:
    """The longer side of the box around `keypoints`, (N, 3); 0 around none."""
    return float(np.ptp(keypoints[:, :2], axis=0).max()) if len(keypoints) else 0.0


def _usable(keypoints: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which joints are drawn: beyond this reach the fixed-point coordinates of cv2 would overflow."""
    return (keypoints[:, 2] > 0) & (np.abs(np.nan_to_num(keypoints[:, :2], nan=np.inf)) < REACH_PX).all(axis=1)


def _ellipses(starts: Points, ends: Points, radius_px: float) -> npt.NDArray[np.float64]:
    """Outlines (N, 48, 2) of the ellipses that have start-end as their long axis; discs where they coincide."""
    half = (ends - starts) / 2
    along, across, length = _directions(half)
    axes = np.stack([along * np.maximum(length, radius_px), across * radius_px], axis=1)  # (N, 2, 2)
    return ((starts + ends) / 2)[:, None] + _CIRCLE @ axes


def _bars(starts: Points, ends: Points, radius_px: float) -> npt.NDArray[np.float64]:
    """Outlines (N, 4, 2) of straight lines from start to end; of no width where they coincide."""
    _, across, length = _directions(ends - starts)
    across = np.where(length > 0, across * radius_px, 0.0)
    return np.stack([starts + across, ends + across, ends - across, starts - across], axis=1)


def _directions(vectors: Points) -> tuple[Points, Points, npt.NDArray[np.float64]]:
    """Unit vectors (N, 2) along and across, and lengths (N, 1); along the x axis where there is no length."""
    length = np.hypot(vectors[:, 0], vectors[:, 1])[:, None]
    along = np.where(length > 0, vectors / np.where(length > 0, length, 1.0), (1.0, 0.0))
    return along, np.stack([-along[:, 1], along[:, 0]], axis=1), length


def _fill(picture: npt.NDArray[np.uint8], outlines: npt.NDArray[np.float64], colours: Sequence[Colour]) -> None:
    """outlines: (N, M, 2), filled one after the other. All of a person's at once, since numpy's calls are what takes time."""
    if len(outlines) == 0:
        return
    height_px, width_px = picture.shape[:2]
    low, high = outlines.min(axis=1), outlines.max(axis=1)
    seen = (high >= 0).all(axis=1) & (low <= (width_px, height_px)).all(axis=1)
    # cv2 puts whole numbers at pixel centres; ours are pixel corners.
    fixed_point = np.round((outlines - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for number in np.flatnonzero(seen).tolist():
        cv2.fillConvexPoly(picture, fixed_point[number], colours[number], lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
