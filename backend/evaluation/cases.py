"""The best and the worst picture of each method, on one sheet."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .page import picture_path, read_picture
from .results import SceneScore

CASE_HEIGHT_PX = 300
_WORDS_PX, _MARGIN_PX = 42, 4


def count_errors(score: SceneScore) -> float:
    """Mistakes per planned person: missing and extra people, the share of wrong joints, the share of wrong colours."""
    colours = [part.found == part.planned for person in score.people for part in person.colours]
    found = [person for person in score.people if person.found]
    joints = sum(person.joints for person in found)
    wrong_joints = 1 - sum(person.joints_right for person in found) / joints if joints else 1.0
    wrong_colours = 1 - sum(colours) / len(colours) if colours else 0.0
    return (score.missing + score.extra) / max(1, len(score.people)) + wrong_joints + wrong_colours


def find_cases(scores: dict[tuple[str, str], SceneScore], method: str) -> tuple[SceneScore, SceneScore]:
    """The scenes where `method` makes fewest and most mistakes."""
    own = [score for score in scores.values() if score.method == method]
    ranked = sorted(own, key=lambda score: (count_errors(score), score.scene))
    return ranked[0], ranked[-1]


def draw_cases(folder: Path, methods: Sequence[str], scores: dict[tuple[str, str], SceneScore]) -> None:
    """Write cases.jpg to `folder`: a row per method, its best picture left and its worst right."""
    font = ImageFont.load_default(size=14)
    rows = [[draw_case(folder, score, font) for score in find_cases(scores, method)] for method in methods]
    columns = [max(row[side].shape[1] for row in rows) for side in (0, 1)]
    lines = [np.hstack([widened(case, width) for case, width in zip(row, columns, strict=True)]) for row in rows]
    Image.fromarray(np.vstack(lines)).save(folder / "cases.jpg", quality=88)


def widened(case: np.ndarray, width: int) -> np.ndarray:
    return np.pad(case, ((0, 0), (0, width - case.shape[1]), (0, 0)), constant_values=255)


def draw_case(folder: Path, score: SceneScore, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> np.ndarray:
    """uint8 (CASE_HEIGHT_PX + words, W, 3): the picture, and above it what it is and what is wrong."""
    picture = read_picture(folder / picture_path(score.method, score.scene))
    width = round(picture.shape[1] * CASE_HEIGHT_PX / picture.shape[0])
    small = cv2.resize(picture, (width, CASE_HEIGHT_PX), interpolation=cv2.INTER_AREA)
    lines = (score.method, f"{score.width}x{score.height}: {score.missing} missing, {score.extra} extra")
    width = max(width, *(round(font.getlength(line)) + 2 * _MARGIN_PX for line in lines))
    words = Image.new("RGB", (width, _WORDS_PX), "white")
    ImageDraw.Draw(words).multiline_text((_MARGIN_PX, 3), "\n".join(lines), "black", font)
    return np.vstack([np.asarray(words), widened(small, width)])
