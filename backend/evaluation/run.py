"""The evaluation: draw what is missing, judge what is drawn, report. Each part goes on where it stopped."""

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from PIL import Image

from ...protocol import Refusal, RenderSettings
from ..hardware import device_name, name_precision
from ..memory import free_cached
from ..models.extras import digest_weights, fingerprint_extras, gather_extras
from ..models.load import Models
from ..models.loras import FEW_STEPS
from ..outputs import Picture, write_picture
from ..planning.resolve import resolve_settings
from ..render import record_making
from ..version import app_version
from ..watch import Watcher
from .judge import Judge
from .measure import measure_picture
from .methods import load_method
from .page import TRUTH, picture_path, read_picture
from .report import Report, make_report, write_report
from .results import DRAWN, MEASURES, Drawing, Header, Journal, SceneScore, digest
from .scenes import EvaluationScene, Scenes
from .variants import read_variant

ROOT = Path(__file__).parents[2]
DECISIVE = (
    *(f"backend/{name}" for name in ("pipeline", "planning", "models", "mannequins", "evaluation", "pose.py")),
    *(f"protocol/{name}.py" for name in ("emphasis", "scene", "skeleton")),  # as prompts are read and skeletons coloured
)

Announce = Callable[[str, str, int, int], Watcher]  # before each picture: method, scene, pictures done, of how many to do


def make_header(models: Models, settings: RenderSettings, scenes: Scenes) -> Header:
    """What the pictures of a run have in common."""
    model_set = models.model_set
    few_steps = {FEW_STEPS.name: model_set.few_steps_file()} if model_set.has_few_steps else {}  # whether they are used or not
    resolved = resolve_settings(settings, model_set)
    # the resolved settings, for a manifest leaves out what is a default, which may change
    advice = (models.manifest, resolve_settings(RenderSettings(), model_set), models.scheduler_config)
    return Header(
        version=f"{app_version()}+{digest_code()}",
        models=models.manifest.name,
        weights=digest_weights(model_set, few_steps),
        advice=digest(msgspec.json.encode(advice, order="deterministic")),
        scenes=scenes.digest(),
        steps=resolved.steps,
        few_steps=resolved.few_steps,
        guidance_scale=resolved.guidance_scale,
        guide_pose=resolved.guide_pose,
        device=models.device.type,
        device_name=device_name(models.device),
        precision=name_precision(models.dtype),
        vae_precision=name_precision(models.vae.dtype),
    )


@cache
def digest_code() -> str:
    """Of the source that decides what is drawn and judged: whoever changes a stage or a method wants other pictures."""
    named = (ROOT / name for name in DECISIVE)
    sources = (file for path in named for file in ([path] if path.suffix else sorted(path.rglob("*.py"))))
    return digest(b"".join(file.read_bytes() for file in sources))


def evaluate(
    models: Models, judge: Judge | None, methods: Sequence[str], scenes: Scenes, settings: RenderSettings, folder: Path,
    announce: Announce, faults: list[str] | None = None, reported: bool = True, seed: int = 0,
) -> Report | None:  # fmt: skip
    """Draw and judge what `folder` does not hold yet, and write its report.

    Several processes may draw different scenes into one folder at a time, each with `reported` false.

    settings: what all pictures have in common; a variant's own come on top, and what both leave open the model set says.
    The true renders are judged beside the methods: they show what the judge itself gets wrong. Each judge has a file of
    its own in `folder`, so that another one can look at the same pictures. judge: None to draw only, without a report.
    seed: added to each scene's own, for other noise in the same scenes.
    faults: gets a sentence for each method that breaks off, which is left out from then on, of the report as well; there is
    none where all do. Raises ResultsError where `folder` holds other results, before any picture is drawn.
    """
    header = replace(make_header(models, settings, scenes), seed=seed)
    drawn = Journal(folder / DRAWN, header, Drawing)
    scores = None if judge is None else open_scores(judge, header, folder)
    wanted, broken = ((TRUTH, *methods) if scenes.with_truth else tuple(methods)), dict[str, str]()
    missing = {
        name: [method for method in wanted if not is_drawn(drawn, folder, method, name, scenes.digest_of(name))]
        for name in scenes.names
    }
    done, total = 0, sum(map(len, missing.values()))
    for name in scenes.names:
        unjudged = [] if scores is None else [method for method in wanted if not is_judged(scores, drawn, method, name)]
        if not missing[name] and not unjudged:
            continue
        scene = scenes.open(name)
        for method in missing[name]:
            done += 1
            if method not in broken:
                watcher = announce(method, name, done - 1, total)
                draw_missing(models, reseed(scene, seed), method, settings, folder, watcher, drawn, broken)
        if judge is not None and scores is not None:
            for method in dict.fromkeys((*missing[name], *unjudged)):
                if method not in broken:
                    scores.add(judge_picture(judge, scene, method, models.training_resolution_px, folder, drawn))
    if faults is not None:
        faults += broken.values()
    whole = [method for method in methods if method not in broken]
    if judge is None or scores is None or not whole or not reported:
        return None
    report = make_report(judge, whole, scenes, scores)
    write_report(report, folder)
    return report


def reseed(scene: EvaluationScene, seed: int) -> EvaluationScene:
    """With `seed` added to the scene's, and to those of people who have their own."""
    people = (one if one.seed is None else replace(one, seed=one.seed + seed) for one in scene.request.characters)
    return dataclasses.replace(scene, request=replace(scene.request, seed=scene.request.seed + seed, characters=tuple(people)))


def open_scores(judge: Judge, header: Header, folder: Path) -> Journal[SceneScore]:
    judged = replace(header, judge=judge.name, measures=MEASURES)
    name = re.sub("[^a-z0-9]+", "-", judge.name.lower()).strip("-")
    return Journal(folder / f"results-{name}-{MEASURES}.jsonl", judged, SceneScore)


def is_drawn(drawn: Journal[Drawing], folder: Path, method: str, name: str, scene_digest: str) -> bool:
    """Whether the picture of this scene, as it is now, is there."""
    kept = drawn.lines.get((method, name))
    return kept is not None and kept.scene_digest == scene_digest and (folder / picture_path(method, name)).exists()


def is_judged(scores: Journal[SceneScore], drawn: Journal[Drawing], method: str, name: str) -> bool:
    """Whether what was judged is the picture that is there: one that was drawn again meanwhile is another one."""
    key = method, name
    return key in scores.lines and key in drawn.lines and scores.lines[key].digest == drawn.lines[key].digest


def draw_missing(
    models: Models, scene: EvaluationScene, method: str, settings: RenderSettings, folder: Path, watcher: Watcher,
    drawn: Journal[Drawing], broken: dict[str, str],
) -> None:  # fmt: skip
    """Draw one picture. Where its method breaks off, `broken` gets a sentence that says so."""
    try:
        drawn.add(draw_picture(models, scene, method, settings, folder, watcher))
        return
    except (RuntimeError, MemoryError) as error:  # out of memory, or what a library lacks on this device
        broken[method] = f"{method} broke off at {scene.name} with {type(error).__name__}: {error}"
    free_cached()  # out here, where no traceback holds the tensors any more


def judge_picture(
    judge: Judge, scene: EvaluationScene, method: str, window_px: int, folder: Path, drawn: Journal[Drawing]
) -> SceneScore:
    """What `judge` says of the picture that is there. window_px: side of the models' views."""
    drawing = drawn.lines[method, scene.name]
    picture = read_picture(folder / picture_path(method, scene.name))
    score = measure_picture(judge, scene, picture, method, window_px, drawing.seconds)
    return replace(score, digest=drawing.digest)


def draw_picture(
    models: Models, scene: EvaluationScene, variant: str, settings: RenderSettings, folder: Path, watcher: Watcher
) -> Drawing:
    """Write the picture that a variant of a method, or the renderer itself, makes of `scene`."""
    path = folder / picture_path(variant, scene.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if variant == TRUTH and scene.truth is not None:
        Image.fromarray(scene.truth.picture).save(path)
        return note_drawing(scene, variant, path, 0.0)
    method, settings = read_variant(variant, settings)
    request = replace(scene.request, settings=resolve_settings(settings, models.model_set))
    extras = fingerprint_extras(gather_extras(request, models.model_set))
    torch.manual_seed(request.seed)  # nothing should draw from it; if something does, it repeats
    start = time.perf_counter()
    picture = load_method(method)(models, request, scene.arrays, watcher)
    seconds = time.perf_counter() - start
    shape = request.height, request.width, 3
    if picture.dtype != np.uint8 or picture.shape != shape:
        raise Refusal(f"{variant} draws {picture.dtype} {picture.shape}, but it is to return uint8 {shape}: mend its `draw`.")
    write_picture(path, Picture(picture), record_making(models, request, scene.arrays, extras))
    return note_drawing(scene, variant, path, seconds)


def note_drawing(scene: EvaluationScene, variant: str, path: Path, seconds: float) -> Drawing:
    both = digest(path.read_bytes() + scene.digest.encode())  # whoever changes a truth wants even the same picture judged anew
    return Drawing(method=variant, scene=scene.name, seconds=seconds, digest=both, scene_digest=scene.digest)
