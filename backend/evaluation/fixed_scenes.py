"""The fixed set of 64 scenes: what is asked for, as a plain request, and what is true."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import msgspec
import numpy as np

from ...protocol import Character, Keypoint, RenderRequest
from ..mannequins.looks import Look, describe_person, describe_scene
from .crowd import Crowd, draw_discernible
from .results import digest
from .scenes import EvaluationScene, Truth

SceneSet = Literal["quick", "full"]
COUNT = 64
# (aspect, area over the training resolution's), eight scenes of 1 to 8 people each: half of all at 16x, where methods part
SHAPES = ((1, 4), (2, 16), (1, 16), (2, 4), (1, 8), (2, 8), (1, 16), (2, 16))
QUICK = (1, 10, 20, 26, 32, 44, 54, 63)  # one of each shape: 2, 3, 5, 3, 1, 5, 7 and 8 people
BACKGROUNDS = ("plaza", "street", "night", "forest", "park", "beach", "snow", "desert", "mountains", "room")
SKETCH_PX = 64  # training resolution for which scenes are drawn to be told from others
_SEED = 640_064  # neither the models' training nor the judge's uses it
_NAMES = ("Ana", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal")


@dataclass(frozen=True)
class FixedScene(EvaluationScene):
    """One whose truth is known."""

    truth: Truth

    @property
    def looks(self) -> tuple[Look, ...]:
        return self.truth.looks


@dataclass(frozen=True)
class FixedScenes:
    """The Scenes of these numbers, for models of one training resolution."""

    numbers: tuple[int, ...]
    training_resolution_px: int
    with_truth = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(scene_name(number) for number in self.numbers)

    def open(self, name: str) -> FixedScene:
        return draw_scene(self._number(name), self.training_resolution_px)

    def part(self, which: slice) -> "FixedScenes":
        return replace(self, numbers=self.numbers[which])

    def growth(self, name: str) -> int:
        return SHAPES[self._number(name) // 8][1]

    def digest(self) -> str:
        return digest_scenes()

    def digest_of(self, name: str) -> str:
        return ""  # the digest of all says enough

    def _number(self, name: str) -> int:
        return self.numbers[self.names.index(name)]


@cache
def digest_scenes() -> str:
    """Of all scenes, small, in some seconds: pictures of what is drawn otherwise do not compare.

    Of all, whichever are evaluated, so that more of them can be added to a folder.
    """
    scenes = (draw_scene(number, SKETCH_PX) for number in range(COUNT))
    return digest(b"".join(msgspec.json.encode(scene.request) + scene.truth.picture.tobytes() for scene in scenes))


def scene_numbers(which: SceneSet, limit: int | None = None) -> tuple[int, ...]:
    """The scenes of a set in the order they are run, at most `limit`."""
    return (QUICK if which == "quick" else tuple(range(COUNT)))[:limit]


def scene_name(number: int) -> str:
    return f"scene-{number:02d}"


def scene_size(number: int, training_resolution_px: int) -> tuple[int, int]:
    """Width and height in pixels, multiples of 8."""
    aspect, growth = SHAPES[number // 8]
    height = round(training_resolution_px * (growth / aspect) ** 0.5 / 8) * 8
    return height * aspect, height


def draw_scene(number: int, training_resolution_px: int) -> FixedScene:
    """Scene `number` of 64: the same people and places for every model, in pixels of its own resolution."""
    width, height = scene_size(number, training_resolution_px)
    crowd = gather_crowd(number)
    truth = crowd.draw(width, height, np.random.default_rng([_SEED, number]))
    keypoints = crowd.keypoints(width, height)
    characters = tuple(
        Character(
            id=name.lower(),
            name=name,
            prompt=describe_person(look),
            keypoints=tuple(export_keypoint(point, truth.instance, person) for point in points),
        )
        for person, (name, look, points) in enumerate(zip(_NAMES, crowd.looks, keypoints, strict=False), start=1)
    )
    request = RenderRequest(
        width=width, height=height, seed=number, prompt=describe_scene(crowd.background), characters=characters
    )
    return FixedScene(scene_name(number), request, Truth(truth.picture, truth.instance, truth.region, truth.looks, truth.scene))


def gather_crowd(number: int) -> Crowd:
    return draw_discernible((_SEED, number), number % 8 + 1, SHAPES[number // 8][0], BACKGROUNDS)


def export_keypoint(point: np.ndarray, instance: np.ndarray, person: int) -> Keypoint:
    """A joint (x_px, y_px, drawn, depth_m) as an exporter would give it; `instance` tells what covers it."""
    x, y, drawn, depth = (float(value) for value in point)
    if not drawn:  # the face looks away
        return Keypoint(x=0, y=0, depth=0, state="missing")
    height, width = instance.shape
    if not (0 <= x < width and 0 <= y < height):
        return Keypoint(x=x, y=y, depth=depth, state="outside")
    covered = instance[int(y), int(x)] not in (0, person)
    if covered:
        return Keypoint(x=x, y=y, depth=depth, state="occluded", hidden_by="character")
    return Keypoint(x=x, y=y, depth=depth)
