"""The fixed set of scenes: what is asked for, as a plain request, and what is true."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from PIL import Image

from ...protocol import KEYPOINT_NAMES, Character, Keypoint, RenderRequest, save_request
from ..mannequins.looks import Look, describe_person, describe_scene
from ..mannequins.raster import REGIONS
from ..mannequins.scenes import Rendering
from .crowd import Crowd, draw_discernible

SceneSet = Literal["quick", "full"]
COUNT = 64
# (aspect, area over the training resolution's), eight scenes of 1 to 8 people each: half of all at 16x, where methods part
SHAPES = ((1, 4), (2, 16), (1, 16), (2, 4), (1, 8), (2, 8), (1, 16), (2, 16))
QUICK = (1, 10, 20, 26, 32, 44, 54, 63)  # one of each shape: 2, 3, 5, 3, 1, 5, 7 and 8 people
BACKGROUNDS = ("plaza", "street", "night", "forest", "park", "beach", "snow", "desert", "mountains", "room")
_SEED = 640_064  # neither the models' training nor the judge's uses it
_NAMES = ("Ana", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal")


@dataclass(frozen=True)
class EvaluationScene:
    """A request and its ground truth.

    truth: drawn at the requested size; its instance i + 1, and looks[i], belong to characters[i] of the request.
    """

    name: str
    request: RenderRequest
    truth: Rendering
    background: str

    @property
    def looks(self) -> tuple[Look, ...]:
        return self.truth.looks


def scene_numbers(which: SceneSet, limit: int | None = None) -> tuple[int, ...]:
    """The scenes of a set in the order they are run, at most `limit`."""
    return (QUICK if which == "quick" else tuple(range(COUNT)))[:limit]


def scene_name(number: int) -> str:
    return f"scene-{number:02d}"


def scene_growth(number: int) -> int:
    """Its area over the training resolution's."""
    return SHAPES[number // 8][1]


def scene_size(number: int, training_resolution_px: int) -> tuple[int, int]:
    """Width and height in pixels, multiples of 8."""
    aspect, growth = SHAPES[number // 8]
    height = round(training_resolution_px * (growth / aspect) ** 0.5 / 8) * 8
    return height * aspect, height


def draw_scene(number: int, training_resolution_px: int) -> EvaluationScene:
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
    return EvaluationScene(scene_name(number), request, truth, crowd.background)


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


def write_scene(scene: EvaluationScene, folder: Path) -> None:
    """Write request.json, truth.json and the true picture, instances and regions to `folder` / the scene's name."""
    folder = folder / scene.name
    folder.mkdir(parents=True, exist_ok=True)
    save_request(folder / "request.json", scene.request, {})
    people = [
        {"id": character.id, "instance": number, "look": msgspec.to_builtins(look)}
        for number, (character, look) in enumerate(zip(scene.request.characters, scene.looks, strict=True), start=1)
    ]
    truth = {
        "background": scene.background, "people": people, "regions": dict(enumerate(REGIONS)),
        "keypoints": list(KEYPOINT_NAMES), "pictures": ["truth.png", "instances.png", "regions.png"],
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")
    for name, picture in (
        ("truth", scene.truth.picture), ("instances", scene.truth.instance), ("regions", scene.truth.region)
    ):  # fmt: skip
        Image.fromarray(picture).save(folder / f"{name}.png")
