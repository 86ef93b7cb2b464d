"""What a method is to draw: a request, and where it is known, what is true of it; the same as files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from PIL import Image

from ...protocol import KEYPOINT_NAMES, Refusal, RenderRequest, load_request, save_request
from ..mannequins.looks import Look
from ..mannequins.raster import REGIONS
from .colours import PARTS, palette

REQUEST_FILE, TRUTH_FILE = "request.json", "truth.json"
PICTURES = ("truth.png", "instances.png", "regions.png")
_AGAIN = f"Write the scene again with --write-scenes, or remove {TRUTH_FILE}: it is then judged without a truth."


class SceneError(Refusal):
    """A scene's files cannot be used. The message names the file and the next step."""


class PersonTruth(msgspec.Struct, frozen=True, kw_only=True):
    """instance: the person's value in the picture of instances. look: see Look."""

    id: str
    instance: int
    look: Look


class TruthFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file truth.json. people: in the request's order. regions, keypoints: what the values and joints beside it mean."""

    background: str  # one of looks.SCENES
    people: tuple[PersonTruth, ...]
    regions: dict[str, str] = {}
    keypoints: tuple[str, ...] = ()
    pictures: tuple[str, ...] = PICTURES


@dataclass(frozen=True)
class Truth:
    """What is true of a scene of mannequins, at the requested size.

    picture: uint8 (H, W, 3). instance: uint8 (H, W), 0 nobody; i + 1, and looks[i], belong to characters[i] of the request.
    region: uint8 (H, W), index into REGIONS. background: one of looks.SCENES.
    """

    picture: np.ndarray
    instance: np.ndarray
    region: np.ndarray
    looks: tuple[Look, ...]
    background: str


@dataclass(frozen=True)
class EvaluationScene:
    """A request, and its ground truth where there is one.

    arrays: the request's masks by digest. digest: see Scenes.digest_of.
    """

    name: str
    request: RenderRequest
    truth: Truth | None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    digest: str = ""


class Scenes(Protocol):
    """Those of a run, in the order in which they are drawn."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def with_truth(self) -> bool:
        """Whether all of them have one."""
        ...

    def open(self, name: str) -> EvaluationScene: ...

    def part(self, which: slice) -> "Scenes": ...

    def growth(self, name: str) -> int:
        """Its area over that of a picture of the models' training resolution, rounded."""
        ...

    def digest(self) -> str:
        """Of what all results in a folder must have in common."""
        ...

    def digest_of(self, name: str) -> str:
        """Of what may differ between runs into one folder: a picture of a scene that has changed is drawn again."""
        ...


def write_scene(scene: EvaluationScene, folder: Path) -> None:
    """Write request.json, and of the truth truth.json, picture, instances and regions, to `folder` / the scene's name."""
    folder = folder / scene.name
    folder.mkdir(parents=True, exist_ok=True)
    save_request(folder / REQUEST_FILE, scene.request, scene.arrays)
    truth = scene.truth
    if truth is None:
        return
    people = tuple(
        PersonTruth(id=character.id, instance=number, look=look)
        for number, (character, look) in enumerate(zip(scene.request.characters, truth.looks, strict=True), start=1)
    )
    regions = {str(number): name for number, name in enumerate(REGIONS)}
    told = TruthFile(background=truth.background, people=people, regions=regions, keypoints=KEYPOINT_NAMES)
    (folder / TRUTH_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    for name, picture in zip(PICTURES, (truth.picture, truth.instance, truth.region), strict=True):
        Image.fromarray(picture).save(folder / name)


def read_scene(name: str, request_file: Path, digest: str = "") -> EvaluationScene:
    """What write_scene wrote, or a request alone. Raises Refusal for files that cannot be read or do not fit each other."""
    request, arrays = load_request(request_file)
    truth = read_truth(request, request_file.parent) if request_file.name == REQUEST_FILE else None
    return EvaluationScene(name, request, truth, arrays, digest)


def read_truth(request: RenderRequest, folder: Path) -> Truth | None:
    """That which lies in `folder`, beside the request; None where nothing does. Raises SceneError."""
    file = folder / TRUTH_FILE
    if not file.exists():
        return None
    try:
        told = msgspec.json.decode(file.read_bytes(), type=TruthFile)
    except ValueError as error:  # what is no JSON, or no UTF-8
        raise SceneError(f"{file} is no truth of a scene: {error}. {_AGAIN}") from error
    ids, known = [person.id for person in told.people], [character.id for character in request.characters]
    numbers = [person.instance for person in told.people]
    if ids != known or numbers != [*range(1, len(known) + 1)]:
        raise SceneError(f"{file} is of other people than the request beside it ({known}, in this order, from 1 on). {_AGAIN}")
    for person in told.people:
        check_look(file, person)
    picture, instance, region = (read_pixels(folder / name, request) for name in PICTURES)
    if instance.max(initial=0) > len(known) or region.max(initial=0) >= len(REGIONS):
        raise SceneError(f"{folder} has a picture of instances or regions with values of nobody and nothing. {_AGAIN}")
    return Truth(picture, instance, region, tuple(person.look for person in told.people), told.background)


def check_look(file: Path, person: PersonTruth) -> None:
    """Raise SceneError for a colour that the judge has no word for."""
    for part in PARTS:
        if (word := getattr(person.look, part)) not in palette(part):
            known = ", ".join(palette(part))
            raise SceneError(f"{file} says that the {part} of '{person.id}' is '{word}': known are {known}.")


def read_pixels(path: Path, request: RenderRequest) -> np.ndarray:
    """uint8 (height, width), or with a third dimension for RGB, of the request's size. Raises SceneError."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except OSError as error:
        raise SceneError(f"{path}, which {TRUTH_FILE} speaks of, cannot be read ({error}). {_AGAIN}") from error
    shape = (request.height, request.width, 3)[: 3 if path.name == PICTURES[0] else 2]
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise SceneError(f"{path} is {pixels.dtype} {pixels.shape}, where this request wants uint8 {shape}. {_AGAIN}")
    return pixels
