"""The evaluation: draw what is missing, judge what is drawn, report. Each part goes on where it stopped."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from PIL import Image

from ...protocol import RenderSettings
from ..memory import free_cached
from ..models.load import Models
from ..models.loras import FEW_STEPS, digest_weights, gather_loras
from ..outputs import Picture, write_picture
from ..planning.resolve import resolve_settings
from ..render import record_making
from ..watch import Watcher
from .cases import draw_cases
from .judge import Judge
from .measure import measure_picture
from .methods import load_method
from .page import LEGEND, NO_RENDERS, OURS, TRUTH, picture_path, write_markdown, write_page
from .results import DRAWN, MEASURES, Drawing, Header, Journal, SceneScore
from .scenes import EvaluationScene, draw_scene, scene_growth, scene_name
from .summary import AGAINST_RENDERS, compare, summarise, without
from .variants import read_variant

SKETCH_PX = 64  # training resolution for which the scene is drawn that stands for all

Announce = Callable[[str, str, int, int], Watcher]  # before each picture: method, scene, pictures done, of how many to do


def make_header(models: Models, settings: RenderSettings) -> Header:
    """What the pictures of a run have in common."""
    model_set = models.model_set
    few_steps = {FEW_STEPS.name: model_set.few_steps_file()} if model_set.has_few_steps else {}  # whether they are used or not
    told = resolve_settings(settings, model_set)
    return Header(
        models=models.manifest.name,
        weights=digest_weights(model_set, few_steps),
        # the resolved settings, for a manifest leaves out what is a default, which may change
        advice=digest(
            msgspec.json.encode(
                (models.manifest, resolve_settings(RenderSettings(), model_set), models.scheduler_config), order="deterministic"
            )
        ),
        scenes=digest_scenes(),
        steps=told.steps,
        few_steps=told.few_steps,
        guidance_scale=told.guidance_scale,
        guide_pose=told.guide_pose,
        device=models.device.type,
        precision=str(models.dtype).removeprefix("torch."),
    )


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def digest_scenes() -> str:
    """Of one scene, small: what another renderer or another seed would draw is another scene, whose pictures do not compare."""
    scene = draw_scene(0, SKETCH_PX)
    return digest(msgspec.json.encode(scene.request) + scene.truth.picture.tobytes())


def evaluate(
    models: Models, judge: Judge | None, methods: Sequence[str], numbers: Sequence[int], settings: RenderSettings, folder: Path,
    announce: Announce, faults: list[str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Draw and judge what `folder` does not hold yet, write its report, and return one summary per method.

    settings: what all pictures have in common; a variant's own come on top, and what both leave open the model set says.
    The true renders are judged beside the methods: they show what the judge itself gets wrong. Each judge has a file of
    its own in `folder`, so that another one can look at the same pictures. judge: None to draw only; nothing is returned.
    faults: gets a sentence for each method that breaks off, which is left out from then on, of the report as well.
    Raises ResultsError where `folder` holds other results, before any picture is drawn.
    """
    header = make_header(models, settings)
    drawn = Journal(folder / DRAWN, header, Drawing)
    scores = (
        Journal(folder / results_file(judge), replace(header, judge=judge.name, measures=MEASURES), SceneScore)
        if judge
        else None
    )
    names, broken = (TRUTH, *methods), set()
    faults = [] if faults is None else faults
    to_do = {n: [one for one in names if not is_drawn(drawn, folder, one, n)] for n in numbers}
    done, total = 0, sum(map(len, to_do.values()))
    for number, missing in to_do.items():
        unjudged = [] if scores is None else [one for one in names if not is_judged(scores, drawn, one, number)]
        if not missing and not unjudged:
            continue
        scene = draw_scene(number, models.training_resolution_px)
        for method in missing:
            done += 1
            if method in broken:
                continue
            watcher = announce(method, scene.name, done - 1, total)
            try:
                drawn.add(draw_picture(models, scene, method, settings, folder, watcher))
            except (RuntimeError, MemoryError) as error:  # out of memory, or what a library lacks on this device
                broken.add(method)
                faults.append(f"{method} broke off at {scene.name} with {type(error).__name__}: {error}")
        if broken:
            free_cached()  # out here, where no traceback holds the tensors any more
        if judge is None or scores is None:
            continue
        for method in dict.fromkeys((*missing, *unjudged)):
            if method not in broken:
                picture, drawing = read_picture(folder, method, number), drawn.lines[method, scene.name]
                score = measure_picture(judge, scene, picture, method, models.training_resolution_px, drawing.seconds)
                scores.add(replace(score, digest=drawing.digest))
    if judge is None or scores is None:
        return []
    whole = [method for method in methods if method not in broken]
    return report(judge, whole, numbers, scores, folder) if whole else []


def results_file(judge: Judge) -> str:
    return f"results-{re.sub('[^a-z0-9]+', '-', judge.name.lower()).strip('-')}-{MEASURES}.jsonl"


def is_drawn(drawn: Journal[Drawing], folder: Path, method: str, number: int) -> bool:
    name = scene_name(number)
    return (method, name) in drawn.lines and (folder / picture_path(method, name)).exists()


def is_judged(scores: Journal[SceneScore], drawn: Journal[Drawing], method: str, number: int) -> bool:
    """Whether what was judged is the picture that is there: one that was drawn again meanwhile is another one."""
    key = method, scene_name(number)
    return key in scores.lines and key in drawn.lines and scores.lines[key].digest == drawn.lines[key].digest


def draw_picture(
    models: Models, scene: EvaluationScene, variant: str, settings: RenderSettings, folder: Path, watcher: Watcher
) -> Drawing:
    """Write the picture that a variant of a method, or the renderer itself, makes of `scene`."""
    path = folder / picture_path(variant, scene.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if variant == TRUTH:
        Image.fromarray(scene.truth.picture).save(path)
        return Drawing(method=variant, scene=scene.name, seconds=0.0, digest=digest(path.read_bytes()))
    method, settings = read_variant(variant, settings)
    request = replace(scene.request, settings=resolve_settings(settings, models.model_set))
    torch.manual_seed(request.seed)  # nothing should draw from it; if something does, it repeats
    start = time.perf_counter()
    picture = load_method(method)(models, request, watcher)
    seconds = time.perf_counter() - start
    write_picture(path, Picture(picture), record_making(models, request, {}, gather_loras(request, models.model_set)))
    return Drawing(method=variant, scene=scene.name, seconds=seconds, digest=digest(path.read_bytes()))


def read_picture(folder: Path, method: str, number: int) -> np.ndarray:
    """uint8 (H, W, 3)."""
    with Image.open(folder / picture_path(method, scene_name(number))) as image:
        return np.asarray(image.convert("RGB"))


def report(
    judge: Judge, methods: Sequence[str], numbers: Sequence[int], journal: Journal[SceneScore], folder: Path
) -> list[dict[str, Any]]:
    """Write results.md, index.html and cases.jpg to `folder`; return the summaries, that of the true renders first.

    Under "by_size" each has the same numbers for each growth of the area over the training resolution's. Under
    "beside_beyondscene" each other method has its paired differences to ours, where that is among them.
    """
    names = [scene_name(number) for number in numbers]
    scores = {(m, name): journal.lines[m, name] for m in (TRUTH, *methods) for name in names}
    unmeasured = AGAINST_RENDERS if judge.of_photographs else ()
    summaries = []
    for method in (TRUTH, *methods):
        summary = without(summarise(method, [scores[method, name] for name in names]), unmeasured)
        summary["by_size"] = {
            f"{growth}x": without(
                summarise(method, [scores[method, scene_name(n)] for n in numbers if scene_growth(n) == growth]), unmeasured
            )
            for growth in sorted({scene_growth(n) for n in numbers})
        }
        if OURS in methods and method not in (TRUTH, OURS):
            summary[f"beside_{OURS}"] = compare(*([scores[one, name] for name in names] for one in (method, OURS)))
        summaries.append(summary)
    header = journal.header
    title = f"{len(names)} scenes, model set {header.models}, {header.steps} {'few ' * header.few_steps}steps, {header.judge}"
    legend = f"{LEGEND} {NO_RENDERS}" if unmeasured else LEGEND
    write_markdown(folder / "results.md", title, legend, summaries)
    write_page(folder / "index.html", title, legend, summaries, scores)
    draw_cases(folder, methods, scores)
    return summaries
