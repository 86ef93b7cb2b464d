"""The limbs and joints of a person as OpenPose draws them, in the order in which they are drawn."""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...protocol import DRAWN, KEYPOINT_COLOURS, LIMB_BRIGHTNESS, LIMB_COLOURS, LIMBS, Character, RenderRequest

LINE_SHARE = 24 / 1024  # width of a limb over the short side of the picture, as `sdxl` was trained
REACH = 16  # a joint farther out than that many times the picture's side is not drawn; the backend has the same rule

Point = tuple[float, float]
Colour = tuple[float, float, float]  # red, green, blue; 0 to 1, as they are on the screen


@dataclass(frozen=True)
class Stroke:
    """An ellipse from `start` to `end`, px of the request's picture; a disc where they are one.

    seen: whether both of its ends are visible: not hidden, and inside the frame.
    """

    start: Point
    end: Point
    colour: Colour
    seen: bool

    @property
    def is_joint(self) -> bool:
        return self.start == self.end


def gather_strokes(request: RenderRequest, character: Character) -> Iterator[Stroke]:
    """Limbs, then joints. What is missing or behind the camera has no stroke, nor has a limb that lacks an end."""
    reach_px = REACH * max(request.width, request.height)
    joints = character.keypoints
    usable = [joint.state in DRAWN and max(abs(joint.x), abs(joint.y)) < reach_px for joint in joints]
    for (first, second), colour in zip(LIMBS, LIMB_COLOURS, strict=True):
        if usable[first] and usable[second]:
            one, other = joints[first], joints[second]
            seen = one.state == other.state == "visible"
            yield Stroke((one.x, one.y), (other.x, other.y), to_unit(colour, LIMB_BRIGHTNESS), seen)
    for joint, colour, on in zip(joints, KEYPOINT_COLOURS, usable, strict=True):
        if on:
            yield Stroke((joint.x, joint.y), (joint.x, joint.y), to_unit(colour), joint.state == "visible")


def line_width_px(request: RenderRequest) -> float:
    return LINE_SHARE * min(request.width, request.height)


def to_unit(colour: tuple[int, int, int], brightness: float = 1.0) -> Colour:
    red, green, blue = (int(channel * brightness) / 255 for channel in colour)
    return red, green, blue


def person_colour(index: int) -> Colour:
    """Of the mask of the person at that place of a request; neighbours differ."""
    return colorsys.hsv_to_rgb((index * 0.618034 + 0.55) % 1, 0.75, 1.0)


def ellipse_axes(stroke: Stroke, width_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, and the halves of the long and the short axis, each (2,) px."""
    start, end = np.array(stroke.start), np.array(stroke.end)
    half = (end - start) / 2
    length = float(np.hypot(*half))
    along = half / length if length > 0 else np.array([1.0, 0.0])
    radius = width_px / 2
    return (start + end) / 2, along * max(length, radius), np.array([-along[1], along[0]]) * radius
