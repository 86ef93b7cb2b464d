"""The evaluation: every method on every scene, judged as soon as it is drawn, and a report at the end."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from PIL import Image

from ..models.load import Models
from ..outputs import Picture, write_picture
from ..planning.settle import settle
from ..render import record_making
from ..watch import Watcher
from .judge import Judge
from .measure import measure_picture
from .methods import load_method
from .page import TRUTH, picture_path, write_markdown, write_page
from .results import Header, Journal
from .scenes import draw_scene, scene_name
from .summary import summarise
from .texture import cut_patches, frechet_distance

PATCHES = 24  # of each picture, for the patch distance

Announce = Callable[[str, str, int, int], Watcher]  # before each picture: method, scene, pictures done, of how many to do


def make_header(models: Models, judge: Judge, steps: int | None) -> Header:
    """What the pictures of a run have in common. steps: None for the model set's own."""
    manifest = models.manifest
    return Header(
        models=manifest.name,
        judge=judge.name,
        steps=manifest.steps if steps is None else steps,
        guidance_scale=manifest.guidance_scale,
        device=models.device.type,
    )


def evaluate(
    models: Models, judge: Judge, methods: Sequence[str], numbers: Sequence[int], steps: int | None, folder: Path,
    announce: Announce,
) -> list[dict[str, Any]]:  # fmt: skip
    """Draw and judge what `folder` does not hold yet, write its report, and return one summary per method.

    The true renders are judged beside the methods: they show what the judge itself gets wrong.
    Raises ResultsError where `folder` holds other results, before any picture is drawn.
    """
    journal = Journal(folder, make_header(models, judge, steps))
    to_do = {n: [one for one in (TRUTH, *methods) if not is_done(journal, folder, one, n)] for n in numbers}
    done, total = 0, sum(map(len, to_do.values()))
    for number, missing in to_do.items():
        if not missing:
            continue
        scene = draw_scene(number, models.training_resolution_px)
        settings = replace(scene.request.settings, steps=steps)
        request = replace(scene.request, settings=settle(settings, models.manifest))
        for method in missing:
            watcher = announce(method, scene.name, done, total)
            path = folder / picture_path(method, scene.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(request.seed)  # nothing should draw from it; if something does, it repeats
            start = time.perf_counter()
            if method == TRUTH:
                picture, seconds = scene.truth.picture, 0.0
                Image.fromarray(picture).save(path)
            else:
                picture = load_method(method)(models, request, watcher)
                seconds = time.perf_counter() - start
                write_picture(path, Picture(picture), record_making(models, request, {}))
            journal.add(measure_picture(judge, scene, picture, method, models.training_resolution_px, seconds))
            done += 1
    return report(judge, methods, numbers, journal, folder, models.training_resolution_px)


def is_done(journal: Journal, folder: Path, method: str, number: int) -> bool:
    name = scene_name(number)
    return (method, name) in journal.scores and (folder / picture_path(method, name)).exists()


def report(
    judge: Judge, methods: Sequence[str], numbers: Sequence[int], journal: Journal, folder: Path, resolution_px: int
) -> list[dict[str, Any]]:
    """Write results.md and index.html to `folder`; return the summaries, that of the true renders first."""
    names = [scene_name(number) for number in numbers]
    scores = {(m, name): journal.scores[m, name] for m in (TRUTH, *methods) for name in names}
    reference = gather_features(judge, folder, TRUTH, numbers, resolution_px // 2, seed=0)
    summaries = []
    for method in (TRUTH, *methods):
        summary = summarise(method, [scores[method, name] for name in names])
        features = gather_features(judge, folder, method, numbers, resolution_px // 2, seed=1)
        summaries.append(summary | {"patch_distance": round(frechet_distance(reference, features), 4)})
    header = journal.header
    title = f"{len(names)} scenes, model set {header.models}, {header.steps} steps, {header.judge}"
    write_markdown(folder / "results.md", title, summaries)
    write_page(folder / "index.html", title, summaries, scores)
    return summaries


def gather_features(judge: Judge, folder: Path, method: str, numbers: Sequence[int], side_px: int, seed: int) -> np.ndarray:
    """float (scenes * PATCHES, C), of patches at places that depend on scene and seed only."""
    features = []
    for number in numbers:
        with Image.open(folder / picture_path(method, scene_name(number))) as image:
            picture = np.asarray(image.convert("RGB"))
        random = np.random.default_rng([seed, number])
        features.append(judge.features(cut_patches(picture, side_px, PATCHES, random)))
    return np.concatenate(features)
