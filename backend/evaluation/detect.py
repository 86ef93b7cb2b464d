"""Run the judge's network on pictures of any size: a pyramid of scales, and one list of people for all of them."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .judge import JOINTS, OFFSET_PX, STRIDE, Found, Maps, load_net, to_input
from .keypoints import body_size, likeness

SHORT_SIDES_PX = (192, 384, 768)  # of the pyramid; the last finds ghosts of a twentieth of the picture
REGION_SHORT_SIDE_PX = 384
SMALLEST_PX, LARGEST_PX = 34.0, 240.0  # people as large as in training; on the coarsest scale the largest of all
THRESHOLD = 0.45
SAME_PERSON = 0.35  # likeness
SURE_JOINT = 0.15  # heat above which a joint is moved to where it burns
REACH = 0.2  # of the body's size: how far away that may be
# What the numbers above make of the same weights is another judge.
_CHOICES = (SHORT_SIDES_PX, REGION_SHORT_SIDE_PX, SMALLEST_PX, LARGEST_PX, THRESHOLD, SAME_PERSON, SURE_JOINT, REACH)


class NetJudge:
    """The Judge of this project; see judge.py for the network."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Raises JudgeError where `folder` holds no weights."""
        self.net, digest = load_net(folder, device)
        self.device = device
        self.name = f"judge {digest[:8]}-{zlib.crc32(repr(_CHOICES).encode()):08x}"
        self.notes: tuple[str, ...] = ()
        self.of_photographs = False

    @torch.inference_mode()
    def people(self, picture: np.ndarray) -> Found:
        short = min(picture.shape[:2])
        sides = sorted((side for side in SHORT_SIDES_PX if side <= short), reverse=True) or [short]
        keypoints, scores = [np.zeros((0, JOINTS, 2))], [np.zeros(0)]
        for side in sides:
            small, scale = resized_to(picture, side)
            points, sure = decode_people(self._maps(small))
            order = np.argsort(-sure)
            points, sure = points[order], sure[order]
            sizes = np.array([body_size(person) for person in points]).reshape(-1)
            fits = (sizes >= SMALLEST_PX) & (sizes <= (LARGEST_PX if side != sides[-1] else np.inf))
            keypoints.append(points[fits] / scale)
            scores.append(sure[fits])
        return drop_doubles(np.concatenate(keypoints), np.concatenate(scores))

    @torch.inference_mode()
    def regions(self, picture: np.ndarray, instances: np.ndarray) -> np.ndarray:
        small, _ = resized_to(picture, min(REGION_SHORT_SIDE_PX, min(picture.shape[:2])))
        logits = F.interpolate(self._maps(small).regions.float(), scale_factor=STRIDE, mode="bilinear")
        height, width = small.shape[:2]
        return logits[0, :, :height, :width].argmax(0).byte().cpu().numpy()

    def text_match(self, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray | None:
        return None  # no words were ever shown to it

    def preference(self, picture: np.ndarray, text: str) -> float | None:
        return None

    def _maps(self, picture: np.ndarray) -> Maps:
        height, width = picture.shape[:2]
        padded = np.pad(picture, ((0, -height % 32), (0, -width % 32), (0, 0)), mode="edge")
        return self.net(to_input(padded[None], self.device))


def resized_to(picture: np.ndarray, short_side_px: int) -> tuple[np.ndarray, float]:
    """`picture` with that short side, and its pixels over the original's."""
    scale = short_side_px / min(picture.shape[:2])
    if scale == 1:
        return picture, 1.0
    height, width = (round(side * scale) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), scale


def decode_people(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 18, 2) in pixels of the network's picture, and scores (N,), of the first picture of a batch."""
    heat = maps.people[0].float().sigmoid()
    peaks = (heat[0] >= THRESHOLD) & (heat[0] == F.max_pool2d(heat[None, :1], 3, 1, 1)[0, 0])
    rows, columns = (index.cpu().numpy() for index in torch.nonzero(peaks, as_tuple=True))
    offsets = maps.offsets[0].float().cpu().numpy()[:, rows, columns].reshape(JOINTS, 2, -1).transpose(2, 0, 1)
    middles = (np.stack([columns, rows], -1) + 0.5) * STRIDE
    points = middles[:, None] + offsets * OFFSET_PX
    burning = heat[1:].cpu().numpy()
    for person in points:
        reach = max(2.0, REACH * body_size(person) / STRIDE)
        for joint in range(JOINTS):
            person[joint] = settle_joint(burning[joint], person[joint], reach)
    return points, heat[0].cpu().numpy()[rows, columns]


def settle_joint(heat: np.ndarray, guess: np.ndarray, reach: float) -> np.ndarray:
    """The hottest place within `reach` cells or so of `guess` (x_px, y_px), to a fraction of a cell; `guess` where it is cold.

    heat: float32 (h, w), 0 to 1, of this joint, a cell for STRIDE pixels.
    """
    column, row = guess / STRIDE - 0.5
    height, width = heat.shape
    top, left = max(0, int(row - reach)), max(0, int(column - reach))
    part = heat[top : max(0, int(row + reach) + 2), left : max(0, int(column + reach) + 2)]
    if part.size == 0:
        return guess
    ys, xs = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    # the hottest cell, where heat far from the guess counts less, as it may be somebody else's
    near = part * np.exp(-((ys - row) ** 2 + (xs - column) ** 2) / (2 * reach**2))
    y, x = divmod(int(near.argmax()), part.shape[1])
    if part[y, x] < SURE_JOINT:
        return guess
    y, x = y + top, x + left
    # the centre of the heat in the 3x3 cells about it
    around = heat[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    ys, xs = np.mgrid[max(0, y - 1) : min(height, y + 2), max(0, x - 1) : min(width, x + 2)]
    return (np.array([(xs * around).sum(), (ys * around).sum()]) / around.sum() + 0.5) * STRIDE


def drop_doubles(keypoints: np.ndarray, scores: np.ndarray) -> Found:
    """Global non-maximum suppression: of people that are alike, the first, so put the better ones before."""
    alike = likeness(keypoints, np.ones(keypoints.shape[:2], bool), keypoints)
    kept: list[int] = []
    for number in range(len(scores)):
        if all(max(alike[number, other], alike[other, number]) < SAME_PERSON for other in kept):
            kept.append(number)
    return Found(keypoints[kept], scores[kept])
