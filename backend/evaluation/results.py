"""What is known of one picture, and the files that keep it: one JSON line per method and scene."""

import hashlib
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from ...protocol import Refusal

Kind = TypeVar("Kind", bound=Struct)

DRAWN = "drawn.jsonl"
MEASURES = 5  # raised when a metric changes, so that kept pictures are judged anew


class ResultsError(Refusal):
    """A results file cannot be gone on with. The message names the file, the line and the next step."""


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class PartColour(Struct, frozen=True, kw_only=True):
    """A garment or hair. part: "shirt", "trousers" or "hair". found: None where the judge saw no such region."""

    part: str
    planned: str
    found: str | None


class Leak(Struct, frozen=True, kw_only=True):
    """Person `wearer` has a part in the colour of `owner`'s. share: 1 over the number of people who it may be from."""

    wearer: int
    owner: int
    part: str
    share: float


class PersonScore(Struct, frozen=True, kw_only=True):
    """A planned person. oks, joints_right: of the person found there, None and 0 where nobody was.

    clip: similarity of the person's crop and prompt, where a CLIP model looked. own_prompt: whether no other prompt of the
    scene fits the crop better; None in a scene without another.
    """

    id: str
    oks: float | None
    joints_right: int  # within a tenth of the torso's length
    joints: int  # visible in the plan; who has none, covered or out of the picture, is drawn but not judged
    colours: list[PartColour] = []
    clip: float | None = None
    own_prompt: bool | None = None

    @property
    def found(self) -> bool:
        return self.oks is not None

    @property
    def judged(self) -> bool:
        return self.joints > 0


class Drawing(Struct, frozen=True, kw_only=True):
    """One picture, drawn. seconds: of making it, without loading the models. digest: of its file and its scene.

    scene_digest: see Scenes.digest_of.
    """

    method: str
    scene: str
    seconds: float
    digest: str
    scene_digest: str = ""


class SceneScore(Struct, frozen=True, kw_only=True):
    """One picture, judged. seconds: of making the picture. digest: see Drawing.

    sharpness, seam_score, patch_distance: see texture.py. What is measured against a truth is None where there is none.
    """

    method: str
    scene: str
    width: int
    height: int
    people: list[PersonScore]
    extra: int  # people whom nobody asked for
    seam_score: float
    leaks: tuple[Leak, ...] = ()
    leaks_by_chance: float = 0.0
    background: str | None = None
    background_found: str | None = None
    sharpness: float | None = None
    patch_distance: float | None = None
    seconds: float = 0.0
    digest: str = ""
    clip: float | None = None
    preference: float | None = None  # of people, by a model of it

    @property
    def planned(self) -> int:
        """People who can be seen in the plan."""
        return sum(person.judged for person in self.people)

    @property
    def missing(self) -> int:
        return sum(person.judged and not person.found for person in self.people)


class Header(Struct, frozen=True, kw_only=True):
    """The first line of a file: what all its pictures have in common.

    version: of this program. weights: digest of all that the model set loads. advice: digest of what the set says beside its
    weights: its manifest and its scheduler's settings. scenes: see Scenes.digest.
    device, device_name: "cuda" and the GPU's name, for example. seed: added to that of each scene.
    judge, measures: None where nobody judged the pictures.
    Formats before 6 lack some of these.
    """

    format: int = 6
    version: str = ""
    models: str
    weights: str = ""
    advice: str = ""
    scenes: str = ""
    steps: int
    few_steps: bool = False
    guidance_scale: float
    guide_pose: bool
    device: str
    device_name: str = ""
    precision: str
    vae_precision: str = ""
    seed: int = 0
    judge: str | None = None
    measures: int | None = None


Line = TypeVar("Line", Drawing, SceneScore)


class Journal(Generic[Line]):
    """Lines on disk and in memory, the last one of each method and scene; each is written as soon as it is known.

    Several processes may add to one file: each line is appended whole, and those of others are not read again.
    """

    def __init__(self, path: Path, header: Header, kind: type[Line]) -> None:
        """Go on with the file `path`, or start one. Raises ResultsError for one that is not of the same kind."""
        self.path, self.header, self.kind = path, header, kind
        self.lines: dict[tuple[str, str], Line] = {}
        if path.exists() and path.stat().st_size:
            self._read()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(header)

    def add(self, line: Line) -> None:
        self.lines[line.method, line.scene] = line
        self._append(line)

    def _append(self, line: Struct) -> None:
        with self.path.open("ab", buffering=0) as file:  # in one call, which no other process can break into
            file.write(msgspec.json.encode(line) + b"\n")

    def _read(self) -> None:
        data = self.path.read_bytes()
        lines = data.splitlines()
        if not data.endswith(b"\n"):
            raise ResultsError(
                f"{self.path} is cut off in line {max(1, len(lines))}: delete that line to go on from the one before, "
                "or name another folder with --out."
            )
        kept = _decode(self.path, 1, lines[0], Header)
        for name in Header.__struct_fields__:
            was, now = getattr(kept, name), getattr(self.header, name)
            if was != now:
                raise ResultsError(
                    f"{self.path} has results with {name} = {was}, but now it is {now}: name another folder with --out."
                )
        for number, line in enumerate(lines[1:], start=2):
            if line == lines[0]:  # of a process that began at the same moment
                continue
            known = _decode(self.path, number, line, self.kind)
            self.lines[known.method, known.scene] = known


def _decode(path: Path, number: int, line: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(line, type=kind)
    except ValueError as error:  # what is no JSON, or no UTF-8
        raise ResultsError(
            f"{path} line {number} is no {kind.__name__}: {error}. Delete the line, or name another folder with --out."
        ) from error
