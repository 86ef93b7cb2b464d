"""Which of the known backgrounds a picture shows: the nearest class, by the colours of its rows."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from .colours import to_lab
from .crowd import draw_crowd
from .fixed_scenes import BACKGROUNDS

BANDS = 8
_SIDE_PX = 64
_EXAMPLES = 16  # of each background, drawn without people
_SEED = 550_001


def classify_backdrop(picture: np.ndarray, people: np.ndarray) -> str:
    """The background whose examples are nearest.

    picture: uint8 (H, W, 3). people: bool (H, W), pixels left out, since somebody is meant to stand there.
    """
    means, spread = backdrop_classes()
    distances = (((describe_backdrop(picture, people) - means) / spread) ** 2).sum(1)
    return BACKGROUNDS[int(distances.argmin())]


def describe_backdrop(picture: np.ndarray, people: np.ndarray) -> np.ndarray:
    """float (BANDS * 4,): mean Lab colour and spread of lightness of each horizontal band."""
    small = cv2.resize(picture, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    free = cv2.resize(people.astype(np.float32), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA) < 0.25
    lab, bands = to_lab(small), []
    for rows in np.split(np.arange(_SIDE_PX), BANDS):
        pixels = lab[rows][free[rows]] if free[rows].any() else lab[rows].reshape(-1, 3)
        bands.append([*pixels.mean(0), pixels[:, 0].std()])
    return np.array(bands).ravel()


@lru_cache(maxsize=1)
def backdrop_classes() -> tuple[np.ndarray, np.ndarray]:
    """Mean (classes, features) and pooled deviation (features,) of examples with the cameras of the scenes."""
    examples = []
    for number, background in enumerate(BACKGROUNDS):
        drawn = []
        for example in range(_EXAMPLES):
            random = np.random.default_rng([_SEED, number, example])
            crowd = replace(draw_crowd(random, 2, 1 + example % 2, (background,)), bodies=[], looks=[])
            empty = crowd.draw(2 * _SIDE_PX * crowd.aspect, 2 * _SIDE_PX, random).picture
            drawn.append(describe_backdrop(empty, np.zeros(empty.shape[:2], bool)))
        examples.append(drawn)
    features = np.array(examples)
    return features.mean(1), features.std(1).mean(0) + 2.0  # two units of Lab: what a decoder may shift
