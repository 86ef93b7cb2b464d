"""Render training views into shards on disk, and read them back."""

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from ...protocol.whole import whole_file
from ..mannequins.looks import Look
from ..mannequins.scenes import MOST_PEOPLE, Rendering, draw_view
from .under_way import OutOfTime, Run
from .workers import worker_pool

_PERSON = 16  # a mask holds this times the person, plus the region
_SHARD_VIEWS = 500


class Renders(msgspec.Struct, frozen=True):
    """Many views, held in memory; arrays share their first axis with `captions`."""

    pictures: npt.NDArray[np.uint8]  # (N, H, W, 3), RGB
    masks: npt.NDArray[np.uint8]  # (N, H, W), instance and region in one
    keypoints: npt.NDArray[np.float32]  # (N, MOST_PEOPLE, 18, 4), far to near; all zero beyond the last person
    captions: list[str]
    looks: list[tuple[Look, ...]]
    scenes: list[str]


def instances_of(masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return who is seen at each pixel of `Renders.masks`: 0 = nobody, else 1 + index into looks."""
    return masks // np.uint8(_PERSON)


def regions_of(masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return which region is seen at each pixel of `Renders.masks`: index into raster.REGIONS."""
    return masks % np.uint8(_PERSON)


def draw_views(seed: int, first: int, count: int, size_px: int) -> list[Rendering]:
    """Return views number first .. first + count of the endless sequence that belongs to `seed`."""
    cv2.setNumThreads(1)
    return [draw_view(np.random.default_rng([seed, number]), size_px) for number in range(first, first + count)]


def stack_views(views: list[Rendering]) -> Renders:
    """Return views as one struct of arrays."""
    keypoints = np.zeros((len(views), MOST_PEOPLE, 18, 4), np.float32)
    for row, view in zip(keypoints, views, strict=True):
        row[: len(view.keypoints)] = view.far_to_near
    return Renders(
        pictures=np.stack([view.picture for view in views]),
        masks=np.stack([view.instance * _PERSON + view.region for view in views]).astype(np.uint8),
        keypoints=keypoints,
        captions=[view.caption for view in views],
        looks=[view.looks for view in views],
        scenes=[view.scene for view in views],
    )


def render_shards(run: Run, folder: Path, count: int, size_px: int, processes: int) -> None:
    """Write the first `count` views of the sequence `run.seed + 1` under `folder`; shards that exist are kept.

    Raises OutOfTime between two shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seed = run.seed + 1
    tasks = [(folder, seed, first, min(_SHARD_VIEWS, count - first), size_px) for first in range(0, count, _SHARD_VIEWS)]
    # One that was the last of fewer views is not full: it is rendered anew.
    missing = [task for task in tasks if _views_in(_shard_path(folder, task[2])) < task[3]]
    with worker_pool(processes) as pool:
        for done, _ in enumerate(pool.map(_render_shard, missing), 1):
            run.report({"stage": "render", "shards": len(tasks) - len(missing) + done, "of": len(tasks)})
            if done < len(missing) and run.out_of_time:
                pool.shutdown(cancel_futures=True)  # those begun are finished and kept
                raise OutOfTime


def read_shards(folder: Path, count: int) -> Renders:
    """Return the first `count` views under `folder`."""
    parts: dict[str, list[np.ndarray]] = {"pictures": [], "masks": [], "keypoints": []}
    words: dict[str, list] = {"captions": [], "looks": [], "scenes": []}
    for first in range(0, count, _SHARD_VIEWS):
        with safe_open(_shard_path(folder, first), "numpy") as shard:
            for name, part in parts.items():
                part.append(shard.get_tensor(name))
            for name, part in words.items():
                part.extend(json.loads(shard.metadata()[name]))
    arrays = {name: np.concatenate(part)[:count] for name, part in parts.items()}
    looks = msgspec.convert(words["looks"], list[tuple[Look, ...]])
    return Renders(**arrays, captions=words["captions"][:count], looks=looks[:count], scenes=words["scenes"][:count])


def _shard_path(folder: Path, first: int) -> Path:
    return folder / f"views-{first:06d}.safetensors"


def _views_in(path: Path) -> int:
    if not path.exists():
        return 0
    with safe_open(path, "numpy") as shard:
        return shard.get_slice("masks").get_shape()[0]


def _render_shard(task: tuple[Path, int, int, int, int]) -> None:
    folder, seed, first, count, size_px = task
    renders = stack_views(draw_views(seed, first, count, size_px))
    path = _shard_path(folder, first)
    metadata = {name: msgspec.json.encode(getattr(renders, name)).decode() for name in ("captions", "looks", "scenes")}
    arrays = {name: getattr(renders, name) for name in ("pictures", "masks", "keypoints")}
    with whole_file(path) as partial:  # another run may render the same shard
        save_file(arrays, partial, metadata)
