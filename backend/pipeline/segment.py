"""Stage 2a: cut each person out of their portrait."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..models.segmenters import Segmenter
from .instances import Portrait


@dataclass(frozen=True)
class Cutout:
    """A portrait and which of its pixels are the person. masks: bool (side, side)."""

    portrait: Portrait
    mask: np.ndarray
    parts: dict[str, np.ndarray]


def cut_out(segmenter: Segmenter, portraits: list[Portrait]) -> list[Cutout]:
    """Masks of each portrait: the piece that the skeleton lies in, without holes."""
    cutouts = []
    for portrait in portraits:
        masks = segmenter.segment(portrait.image)
        joints = portrait.canvas_from_scene.apply(portrait.person.keypoints)
        person = keep_body(masks["person"], joints)
        parts = {name: mask & person for name, mask in masks.items() if name != "person"}
        cutouts.append(Cutout(portrait, person, parts))
    return cutouts


def keep_body(mask: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The connected pieces of `mask` that hold drawn joints, holes filled; what lies apart is no part of the person.

    Where the segmenter found nothing under the skeleton, a body-shaped mask around it is returned instead, so that
    the person is not lost from the picture.
    """
    height, width = mask.shape
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    inside = [(x, y) for x, y, on in joints if on and 0 <= x < width and 0 <= y < height]
    touched = {int(pieces[int(y), int(x)]) for x, y in inside} - {0}
    body = np.isin(pieces, list(touched)).astype(np.uint8)
    if not touched:
        return sketch_body(joints, height, width)
    outlines, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    small_holes = cv2.drawContours(np.zeros_like(body), outlines, -1, (1,), cv2.FILLED) - body
    # a gap between arm and hip is background; a hole of a few pixels is an error of the segmenter
    count, holes, stats, _ = cv2.connectedComponentsWithStats(small_holes)
    for hole in range(1, count):
        if stats[hole, cv2.CC_STAT_AREA] < 0.001 * mask.size:
            body[holes == hole] = 1
    return body > 0


def sketch_body(joints: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool (height, width): the joints' convex hull, widened by a tenth of its height."""
    points = joints[joints[:, 2] > 0, :2].astype(np.float32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points).astype(np.int32), (1,))
    reach = max(3, int(0.1 * float(np.ptp(points[:, 1]))) | 1)
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0
