"""Stage 1: cut each person out of their portrait."""

from dataclasses import dataclass

import cv2
import numpy as np

from ...protocol import KEYPOINT_NAMES
from ..models.segmenters import Segmenter
from ..planning.people import bounding_box
from ..pose import LIMBS
from .instances import Portrait
from .parts import find_part, what_tells

BONE_WIDTH = 0.03  # of the body's height
TORSO = tuple(KEYPOINT_NAMES.index(name) for name in ("RShoulder", "LShoulder", "LHip", "RHip"))


@dataclass(frozen=True)
class Cutout:
    """A portrait, which of its pixels are the person, and where the parts are that have prompts. masks: bool (side, side)."""

    portrait: Portrait
    mask: np.ndarray
    parts: dict[str, np.ndarray]


def cut_out(segmenter: Segmenter, portraits: list[Portrait]) -> list[Cutout]:
    """Masks of each portrait: the piece that the skeleton lies in, without holes."""
    cutouts = []
    for portrait in portraits:
        asked = [part for part, prompt in portrait.person.character.part_prompts.items() if prompt.strip()]
        joints = portrait.canvas_from_scene.apply(portrait.person.keypoints)
        masks = segmenter.segment(portrait.image, what_tells(asked), bounding_box(joints))
        person = keep_body(masks["person"], joints)
        found = {name: mask for name, mask in masks.items() if name != "person"}
        parts = {part: find_part(part, found, person, joints) for part in asked}
        cutouts.append(Cutout(portrait, person, parts))
    return cutouts


def keep_body(mask: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The connected pieces of `mask` that hold drawn joints, and the bones themselves; holes filled.

    What lies apart is no part of the person. The bones are, whatever the segmenter says: the pose is known, so a person
    whom it missed or tore apart is not lost from the picture.
    """
    bones = draw_bones(joints, *mask.shape)
    _, pieces = cv2.connectedComponents((mask | bones).astype(np.uint8))
    body = np.isin(pieces, np.unique(pieces[bones])).astype(np.uint8)
    outlines, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    small_holes = cv2.drawContours(np.zeros_like(body), outlines, -1, (1,), cv2.FILLED) - body
    # a gap between arm and hip is background; a hole of a few pixels is an error of the segmenter
    count, holes, stats, _ = cv2.connectedComponentsWithStats(small_holes)
    for hole in range(1, count):
        if stats[hole, cv2.CC_STAT_AREA] < 0.001 * mask.size:
            body[holes == hole] = 1
    return body > 0


def draw_bones(joints: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool (height, width): the torso, the limbs and the joints, no thicker than any body's are."""
    mask = np.zeros((height, width), np.uint8)
    points, drawn = joints[:, :2].round().astype(np.int32), joints[:, 2] > 0
    thickness = max(1, round(BONE_WIDTH * float(np.ptp(joints[drawn, :2], axis=0).max())))
    for joint in points[drawn]:  # also those whose limbs end in nothing
        cv2.circle(mask, joint.tolist(), thickness // 2, (1,), cv2.FILLED)
    for start, end in LIMBS:
        if drawn[start] and drawn[end]:
            cv2.line(mask, points[start].tolist(), points[end].tolist(), (1,), thickness)
    if drawn[list(TORSO)].all():
        cv2.fillPoly(mask, [points[list(TORSO)]], (1,))
    return mask > 0
