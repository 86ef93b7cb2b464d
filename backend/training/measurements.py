"""What a model set is measured by on held-out views: colours, poses, the autoencoder and the segmenter."""

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from transformers import UperNetForSemanticSegmentation

from ..evaluation.colours import GARMENTS, PARTS, colour_word, to_lab
from ..evaluation.detect import NetJudge
from ..evaluation.judge import JUDGE_FOLDER, Judge
from ..evaluation.judge_data import label_people
from ..evaluation.keypoints import joints_right, likeness, match_people
from ..mannequins.raster import HAIR, HEAD, REGIONS
from ..mannequins.scenes import Framing, Rendering
from ..models.sets import read_model_set
from ..pose import draw_pose
from .samples import Pictures, draw_held_out, generate, load_model_set, own_settings, redraw, restore, with_few_steps
from .segmenter import segment
from .vae import to_tensor

FEWEST_PX = 40  # smaller regions have no colour worth judging
REDRAWN = 0.25  # of the noise, as levels are: so the truth of a view is still the picture's


class MeasureSettings(msgspec.Struct, frozen=True):
    """What to measure."""

    singles: int = 64
    groups: int = 24
    few_steps: bool = False  # with the set's LoRA for few steps, and the steps and the guidance that it wants


def measure_colours(pictures: Pictures, views: list[Rendering], truths: list[Rendering] | None = None) -> dict[str, float]:
    """Return, per part, how often its mean colour is nearest to that of the right word.

    truths: views whose looks are expected instead, person by person: rolled views give the rate of chance.
    """
    right: dict[str, list[bool]] = {part: [] for part in PARTS}
    for picture, view, truth in zip(pictures, views, truths or views, strict=True):
        lab = to_lab(picture)
        for person in range(len(view.looks)):
            look = truth.looks[person % len(truth.looks)]
            for part, region in PARTS.items():
                inside = (view.instance == person + 1) & (view.region == region)
                if np.count_nonzero(inside) >= FEWEST_PX:
                    right[part].append(colour_word(lab[inside], part) == getattr(look, part))
    return {part: round(float(np.mean(hits)), 3) for part, hits in right.items() if hits}


def measure_garments(pictures: Pictures, views: list[Rendering]) -> float:
    """Return by how much, in CIELAB, the mean colour of a shirt or trousers is off on average."""
    errors = []
    for picture, view in zip(pictures, views, strict=True):
        found, true = to_lab(picture), to_lab(view.picture)
        for person in range(len(view.looks)):
            for part in GARMENTS:
                inside = (view.instance == person + 1) & (view.region == PARTS[part])
                if np.count_nonzero(inside) >= FEWEST_PX:
                    errors.append(np.linalg.norm(found[inside].mean(axis=0) - true[inside].mean(axis=0)))
    return round(float(np.mean(errors)), 2)


def measure_silhouettes(pictures: Pictures, views: list[Rendering], segmenter: UperNetForSemanticSegmentation) -> float:
    """Return the mean IoU of people found by the segmenter with the people rendered."""
    device = next(segmenter.parameters()).device
    found = np.concatenate([segment(segmenter, to_tensor(picture[None], device)) for picture in pictures]) > 0
    true = np.stack([view.instance > 0 for view in views])
    unions = (found | true).sum(axis=(1, 2))
    return round(float(np.mean((found & true).sum(axis=(1, 2)) / np.maximum(unions, 1))), 3)


def measure_poses(pictures: Pictures, views: list[Rendering], judge: Judge) -> float:
    """Return PCK: the share of the rendered joints that the judge finds within a tenth of the torso's length.

    Joints of people whom it does not find count as wrong.
    """
    right = planned = 0
    for picture, view in zip(pictures, views, strict=True):
        joints, there = label_people(view, view.keypoints, np.arange(len(view.keypoints)))
        places, seen = joints[there, :, :2], joints[there, :, 2] > 0
        found = judge.people(picture).keypoints
        matches = match_people(likeness(places, seen, found))
        right += sum(joints_right(places[person], seen[person], found[other]) for person, other in matches.items())
        planned += int(seen.sum())
    return round(right / max(1, planned), 3)


def measure_regions(pictures: Pictures, views: list[Rendering], segmenter: UperNetForSemanticSegmentation) -> dict[str, float]:
    """Return the IoU of everything that the segmenter finds, over all views together: people, heads with hair, each region."""
    device = next(segmenter.parameters()).device
    found = np.concatenate([segment(segmenter, to_tensor(picture[None], device)) for picture in pictures])
    true = np.stack([view.region for view in views])
    wholes = {"person": np.arange(1, len(REGIONS)), "head with hair": np.array((HEAD, HAIR))}
    scores = {}
    for name, regions in (wholes | {name: np.array((number,)) for number, name in enumerate(REGIONS)}).items():
        one, other = np.isin(found, regions), np.isin(true, regions)
        scores[name] = round(float(np.sum(one & other) / max(1, np.sum(one | other))), 3)
    return scores


def measure_model_set(folder: Path, out: Path, settings: MeasureSettings, judge_folder: Path = JUDGE_FOLDER) -> dict:
    """Measure the model set in `folder`; write metrics.json and samples.png to `out` and return the metrics.

    It draws as its manifest says. Raises ModelSetError where it has none and JudgeError where `judge_folder` holds no judge,
    before anything is drawn.
    """
    model_set = read_model_set(folder)
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judge = NetJudge(judge_folder, device)
    pipeline, segmenter = load_model_set(folder, device)
    drawing = own_settings(model_set.manifest)
    if settings.few_steps:
        drawing = with_few_steps(pipeline, model_set, drawing)
    kinds: dict[str, tuple[int, tuple[Framing, ...]]] = {
        "one person": (settings.singles, ("portrait", "figure", "portrait", "zoom")),
        "two or three": (settings.groups, ("several",)),
    }
    metrics: dict = {"steps": drawing.steps, "guidance_scale": drawing.guidance_scale, "guide_pose": drawing.guide_pose}
    sheets, held_out, all_restored = [], [], []
    for name, (count, framings) in kinds.items():
        views = draw_held_out(count, framings, first=len(held_out))
        samples, restored = generate(pipeline, views, drawing), restore(pipeline, views)
        true, rolled = np.stack([view.picture for view in views]), views[1:] + views[:1]
        metrics[name] = {
            "views": count,
            "sample": measure_colours(samples, views),
            "decoder ceiling": measure_colours(restored, views),
            "true pictures": measure_colours(true, views),
            "rolled truth (chance)": measure_colours(samples, views, rolled),
            "silhouette IoU": {
                "sample": measure_silhouettes(samples, views, segmenter),
                "decoder ceiling": measure_silhouettes(restored, views, segmenter),
                "rolled truth (chance)": measure_silhouettes(samples, rolled, segmenter),
            },
            "PCK": {
                "sample": measure_poses(samples, views, judge),
                "decoder ceiling": measure_poses(restored, views, judge),
                "true pictures": measure_poses(true, views, judge),
                "rolled truth (chance)": measure_poses(samples, rolled, judge),
            },
        }
        sheets.append(draw_sheet(samples, views, drawing.pose_line_width_px))
        held_out += views
        all_restored.append(restored)
    restored = np.concatenate(all_restored)
    metrics["autoencoder"] = {"psnr_db": _psnr(restored, held_out), "garments_lab": measure_garments(restored, held_out)}
    metrics["segmenter"] = {
        "true pictures": measure_regions(np.stack([view.picture for view in held_out]), held_out, segmenter),
        "drawn anew by the model": measure_regions(redraw(pipeline, held_out, drawing, REDRAWN), held_out, segmenter),
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    cv2.imwrite(str(out / "samples.png"), cv2.cvtColor(np.vstack(sheets), cv2.COLOR_RGB2BGR))
    return metrics


def draw_sheet(samples: Pictures, views: list[Rendering], line_width_px: int) -> npt.NDArray[np.uint8]:
    """Return a contact sheet: per row of views their poses, the samples and the truth."""
    columns, rows, side_px = 8, 2, 160
    lines = []
    for first in range(0, min(columns * rows, len(views) // columns * columns), columns):
        part = range(first, first + columns)
        poses = [draw_pose(list(views[i].far_to_near[:, :, :3]), 256, 256, line_width_px) for i in part]
        for pictures in (poses, [samples[i] for i in part], [views[i].picture for i in part]):
            small = [cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA) for picture in pictures]
            lines.append(np.hstack(small))
    return np.vstack(lines)


def _psnr(pictures: Pictures, views: list[Rendering]) -> float:
    errors = [np.mean((p.astype(float) - v.picture) ** 2) for p, v in zip(pictures, views, strict=True)]
    return round(float(np.mean(10 * np.log10(255**2 / np.array(errors)))), 2)
