"""Compare planned poses with those found: OKS, PCK, and who is who."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...protocol import KEYPOINT_NAMES

# COCO's constants by joint (cocoeval); the neck, which COCO lacks, is as sure as a shoulder.
_SIGMAS = {
    "Nose": 0.026, "Neck": 0.079, "Shoulder": 0.079, "Elbow": 0.072, "Wrist": 0.062,
    "Hip": 0.107, "Knee": 0.087, "Ankle": 0.089, "Eye": 0.025, "Ear": 0.035,
}  # fmt: skip
SIGMAS = np.array([_SIGMAS[name if name in _SIGMAS else name[1:]] for name in KEYPOINT_NAMES])
AREA = 0.2  # of a body over the square of its size, as a standing person's; its mask would shrink where others cover it
PCK_SHARE = 0.1  # of the torso's length
MATCH = 0.3  # below this somebody else stands there
_OTHER_SIDE = {"R": "L", "L": "R"}
MIRRORED = [KEYPOINT_NAMES.index(_OTHER_SIDE.get(name[0], name[0]) + name[1:]) for name in KEYPOINT_NAMES]
ALL = np.ones(len(KEYPOINT_NAMES), bool)
TORSO = tuple(KEYPOINT_NAMES.index(name) for name in ("RShoulder", "LShoulder", "RHip", "LHip"))


def body_size(points: np.ndarray) -> float:
    """The taller side of the joints' box in pixels. points: (K, 2)."""
    return float(np.ptp(points, axis=0).max()) if len(points) else 0.0


def torso_length(points: np.ndarray, placed: np.ndarray = ALL) -> float:
    """From the middle of the shoulders to that of the hips, (18, 2); at least a fifth of the body, however foreshortened.

    placed: bool (18,), joints that have a place, since the numbers of others mean nothing. Where a shoulder or a hip is not
    among them, a fifth of what is.
    """
    least = 0.2 * body_size(points[placed])
    if not placed[list(TORSO)].all():
        return least
    shoulders, hips = points[list(TORSO[:2])].mean(0), points[list(TORSO[2:])].mean(0)
    return max(float(np.linalg.norm(shoulders - hips)), least)


def oks(planned: np.ndarray, counts: np.ndarray, found: np.ndarray, placed: np.ndarray | None = None) -> np.ndarray:
    """Object keypoint similarity, float (P, F) from 0 to 1.

    planned: (P, 18, 2), px. counts: bool (P, 18), joints that count. found: (F, 18, 2), px. placed: bool (P, 18), joints that
    have a place and tell how large a body is, however little of it counts; None for those that count.
    """
    sized = zip(planned, counts if placed is None else placed, strict=True)
    sizes = np.array([body_size(person[used]) for person, used in sized]).reshape(-1)
    squares = ((planned[:, None] - found[None]) ** 2).sum(-1)  # (P, F, 18)
    spread = 2 * AREA * np.maximum(sizes, 1)[:, None, None] ** 2 * (2 * SIGMAS) ** 2
    alike = np.exp(-squares / spread) * counts[:, None]
    return alike.sum(-1) / np.maximum(counts.sum(-1), 1)[:, None]


def likeness(planned: np.ndarray, counts: np.ndarray, found: np.ndarray) -> np.ndarray:
    """OKS, or what it would be with left and right exchanged, whichever is greater; arguments as `oks`.

    It says that the same person stands there, also where front was taken for back.
    """
    return np.maximum(oks(planned, counts, found), oks(planned, counts, found[:, MIRRORED]))


def joints_right(planned: np.ndarray, counts: np.ndarray, found: np.ndarray, placed: np.ndarray = ALL) -> int:
    """PCK's numerator: joints of one person (18, 2) that count and were found within a tenth of the torso's length."""
    near = np.linalg.norm(planned - found, axis=-1) <= PCK_SHARE * torso_length(planned, placed)
    return int((near & counts).sum())


def match_people(similarity: np.ndarray) -> dict[int, int]:
    """Planned person to found person, so that their likeness (P, F) is greatest in sum; pairs below MATCH are none.

    They count for nothing in the sum, or they would take somebody from a pair that holds.
    """
    rows, columns = linear_sum_assignment(np.where(similarity >= MATCH, similarity, 0), maximize=True)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if similarity[r, c] >= MATCH}
