"""What the judge learns from: renders of its own seeds, sharp and spoilt, since generated pictures are soft."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..mannequins.scenes import Framing, Rendering, draw_view
from .crowd import draw_crowd
from .fixed_scenes import BACKGROUNDS

SIDE_PX = 256
MOST_PEOPLE = 8
_SEED = 770_001  # training of the models uses small seeds, their held-out views 900001, the evaluation's scenes 640064
_FEWEST_JOINTS = 4  # of a person who can be found


@dataclass(frozen=True)
class Sample:
    """A picture and what is in it.

    picture: uint8 (SIDE_PX, SIDE_PX, 3). regions: uint8, index into REGIONS. joints: float32 (MOST_PEOPLE, 18, 3),
    x_px, y_px and 1 where seen; far to near. there: bool (MOST_PEOPLE,).
    """

    picture: np.ndarray
    regions: np.ndarray
    joints: np.ndarray
    there: np.ndarray


def draw_samples(step: int, batch: int, seed: int) -> list[Sample]:
    """The samples of one training step; they depend on nothing but these numbers."""
    cv2.setNumThreads(1)
    return [draw_sample(np.random.default_rng([_SEED, seed, step, number])) for number in range(batch)]


def draw_sample(random: np.random.Generator) -> Sample:
    """Half of the samples are crowds; the others show one person or a part of one, or nobody."""
    if random.random() < 0.55:
        crowd = draw_crowd(random, int(random.integers(1, MOST_PEOPLE + 1)), 1, (*BACKGROUNDS, "plain"), smallest=0.16)
        view, keypoints = crowd.draw(SIDE_PX, SIDE_PX, random), crowd.keypoints(SIDE_PX, SIDE_PX)
        order = np.argsort(-keypoints[:, 1, 3])
    else:
        framings: tuple[Framing, ...] = ("figure", "portrait", "zoom", "empty")
        view = draw_view(random, SIDE_PX, framings[int(random.choice(4, p=(0.4, 0.25, 0.25, 0.1)))])
        keypoints, order = view.keypoints, np.arange(len(view.keypoints))
    joints, there = label_people(view, keypoints, order)
    return Sample(spoil(view.picture, random), view.region, joints, there)


def label_people(view: Rendering, keypoints: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints and presence of each person, in `order`; person i of `keypoints` is instance i + 1."""
    joints, there = np.zeros((MOST_PEOPLE, 18, 3), np.float32), np.zeros(MOST_PEOPLE, bool)
    for slot, person in enumerate(order):
        points = keypoints[person]
        inside = (points[:, :2] >= 0).all(1) & (points[:, :2] < SIDE_PX).all(1)
        x, y = points[:, :2].clip(0, SIDE_PX - 1).astype(int).T
        seen = inside & (points[:, 2] > 0) & np.isin(view.instance[y, x], (0, person + 1))
        joints[slot] = np.column_stack([points[:, :2], seen])
        there[slot] = seen.sum() >= _FEWEST_JOINTS
    return joints, there


def spoil(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Blur, lost resolution, other tones, grain and JPEG, each now and then; a fifth stay as they are."""
    if random.random() < 0.2:
        return picture
    spoilt = picture
    if random.random() < 0.35:
        small = round(SIDE_PX / random.uniform(1.3, 3.0))
        shrunk = cv2.resize(spoilt, (small, small), interpolation=cv2.INTER_AREA)
        spoilt = cv2.resize(shrunk, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    if random.random() < 0.45:
        spoilt = cv2.GaussianBlur(spoilt, (0, 0), random.uniform(0.3, 2.2))
    if random.random() < 0.4:
        _, data = cv2.imencode(".jpg", spoilt, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(15, 85))])
        spoilt = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    tones = spoilt.astype(np.float32) / 255
    if random.random() < 0.6:
        tones = tones.clip(0, 1) ** random.uniform(0.7, 1.4)
        tones = (tones - 0.5) * random.uniform(0.8, 1.2, 3) + 0.5 + random.normal(0, 0.03, 3)
    if random.random() < 0.5:
        tones = tones + random.normal(0, random.uniform(0, 0.06), tones.shape)
    return (tones.clip(0, 1) * 255).round().astype(np.uint8)
