"""Scenes of one's own: a folder of requests, as `beyondscene export` or `evaluate --write-scenes` write them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...protocol import Refusal, RenderRequest, check_request
from .results import digest
from .scenes import PICTURES, REQUEST_FILE, TRUTH_FILE, EvaluationScene, SceneError, read_scene


@dataclass(frozen=True)
class Kept:
    """What a run keeps of a scene between its pictures. growth: see Scenes."""

    file: Path
    growth: int
    with_truth: bool
    digest: str


@dataclass(frozen=True)
class OwnScenes:
    """The Scenes of a folder, by name."""

    kept: dict[str, Kept]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.kept)

    @property
    def with_truth(self) -> bool:
        return all(scene.with_truth for scene in self.kept.values())

    def open(self, name: str) -> EvaluationScene:
        return read_scene(name, self.kept[name].file, self.kept[name].digest)

    def part(self, which: slice) -> "OwnScenes":
        return OwnScenes(dict([*self.kept.items()][which]))

    def growth(self, name: str) -> int:
        return self.kept[name].growth

    def digest(self) -> str:
        return "own"  # others may be added to the folder, and each that has changed is drawn again

    def digest_of(self, name: str) -> str:
        return self.kept[name].digest


def gather_scenes(
    folder: Path, training_resolution_px: int, limit: int | None = None, check: Callable[[RenderRequest], None] = lambda _: None
) -> OwnScenes:
    """All of them read and checked. Raises Refusal for the first that cannot be used.

    limit: only the first so many. check: raises Refusal for a request that cannot be drawn.
    """
    found = find_requests(folder)[:limit]
    return OwnScenes({name: keep(name, file, training_resolution_px, check) for name, file in found})


def find_requests(folder: Path) -> list[tuple[str, Path]]:
    """Name and file of each `folder`/NAME.json and `folder`/NAME/request.json, by name. Raises SceneError where none is."""
    if not folder.is_dir():
        raise SceneError(f"There is no folder {folder}: name one with requests, as `beyondscene export` writes them.")
    found = [(file.stem, file) for file in folder.glob("*.json")]
    found += [(file.parent.name, file) for file in folder.glob(f"*/{REQUEST_FILE}")]
    if not found:
        raise SceneError(
            f"{folder} holds no scenes: put requests there as NAME.json or NAME/{REQUEST_FILE}; `beyondscene export` makes "
            "them of a .blend."
        )
    names = [name for name, _ in found]
    for name in sorted({*names}):
        if names.count(name) > 1:
            raise SceneError(f"{folder} has both {name}.json and {name}/{REQUEST_FILE}: rename one of them.")
    return sorted(found)


def keep(name: str, file: Path, training_resolution_px: int, check: Callable[[RenderRequest], None]) -> Kept:
    """Read a scene and check it. Raises Refusal, which names the file."""
    scene = read_scene(name, file)
    request = scene.request
    try:
        check_request(request)
        check(request)
    except Refusal as refusal:
        raise Refusal(f"{file}: {refusal}") from refusal
    files = [file, *((file.parent / part for part in (TRUTH_FILE, *PICTURES)) if scene.truth else ())]
    growth = max(1, round(request.width * request.height / training_resolution_px**2))
    return Kept(file, growth, scene.truth is not None, digest(b"".join(part.read_bytes() for part in files)))
