"""Stage 1: cut each person out of their portrait."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from ...protocol import KEYPOINT_NAMES
from ..models.segmenters import Segmenter
from ..planning.people import bounding_box
from ..pose import LIMBS
from .instances import Portrait
from .parts import find_part, what_tells, with_hair

BONE_WIDTH = 0.03  # of the body's height
MISSED = 0.5  # share of the skeleton of which the segmenter sees less where it has missed the person
TORN = 0.3  # share of a bone of which it sees more where it has torn the limb apart; elsewhere it sees the joint alone
TORSO = tuple(KEYPOINT_NAMES.index(name) for name in ("RShoulder", "LShoulder", "LHip", "RHip"))


@dataclass(frozen=True)
class Cutout:
    """A portrait, which of its pixels are the person, and where the parts are that have prompts. masks: bool (side, side)."""

    portrait: Portrait
    mask: np.ndarray
    parts: dict[str, np.ndarray]


def cut_out(segmenter: Segmenter, portraits: list[Portrait], on_person: Callable[[], None] = lambda: None) -> list[Cutout]:
    """Masks of each portrait: the piece that the skeleton lies in, without holes. on_person: called after each."""
    cutouts = []
    for portrait in portraits:
        with_prompts = [part for part, prompt in portrait.person.character.part_prompts.items() if prompt.strip()]
        joints = portrait.canvas_from_scene.apply(portrait.person.portrait_keypoints)
        masks = segmenter.segment(portrait.image, what_tells(with_prompts), bounding_box(joints))
        person = keep_body(masks["person"], joints)
        found = with_hair({name: mask for name, mask in masks.items() if name != "person"})
        parts = {part: find_part(part, found, person, joints) for part in with_prompts}
        cutouts.append(Cutout(portrait, person, parts))
        on_person()
    return cutouts


def keep_body(mask: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The connected pieces of `mask` that touch the skeleton, and of its bones those of which TORN is seen; holes filled.

    What lies apart is no part of the person. A bone of which less is seen may be where no limb was drawn, and would bring
    the backdrop along; all of them are taken where most of the skeleton is not seen: the pose is known, so a person whom the
    segmenter missed is not lost from the picture.
    """
    bones = list(draw_bones(joints, *mask.shape))
    skeleton = np.any(bones, axis=0)
    if mask[skeleton].mean() >= MISSED:
        bones = [bone for bone in bones if mask[bone].mean() >= TORN]
    seen = mask | np.any(bones, axis=0)
    _, pieces = cv2.connectedComponents(seen.astype(np.uint8))
    body = np.isin(pieces, np.unique(pieces[seen & skeleton])).astype(np.uint8)
    outlines, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    small_holes = cv2.drawContours(np.zeros_like(body), outlines, -1, (1,), cv2.FILLED) - body
    # a gap between arm and hip is background; a hole of a few pixels is an error of the segmenter
    count, holes, stats, _ = cv2.connectedComponentsWithStats(small_holes)
    for hole in range(1, count):
        if stats[hole, cv2.CC_STAT_AREA] < 0.001 * mask.size:
            body[holes == hole] = 1
    return body > 0


def draw_bones(joints: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """bool (height, width) of each joint, each limb and the torso, no thicker than any body's are; none is empty."""
    return (bone > 0 for bone in draw_shapes(joints, partial(np.zeros, (height, width), np.uint8)) if bone.any())


def draw_shapes(joints: np.ndarray, blank: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    """The same as uint8, 0 or 1; empty where a shape lies beyond the border. blank: makes what each is drawn on."""
    points, drawn = np.floor(joints[:, :2]).astype(np.int32), joints[:, 2] > 0  # cv2 counts pixels, joints from their corners
    thickness = max(1, round(BONE_WIDTH * float(np.ptp(joints[drawn, :2], axis=0).max())))
    for joint in points[drawn]:
        yield cv2.circle(blank(), joint.tolist(), thickness // 2, (1,), cv2.FILLED)
    for start, end in LIMBS:
        if drawn[start] and drawn[end]:
            yield cv2.line(blank(), points[start].tolist(), points[end].tolist(), (1,), thickness)
    if drawn[list(TORSO)].all():
        yield cv2.fillPoly(blank(), [points[list(TORSO)]], (1,))
