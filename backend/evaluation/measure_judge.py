"""How far the judge is to be trusted: true crowds of seeds that neither its training nor the scenes use, half of them soft."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from ..cli import DONE, Parser, answer
from .crowd import draw_discernible
from .detect import NetJudge
from .fixed_scenes import BACKGROUNDS
from .judge import JUDGE_FOLDER, Judge
from .keypoints import joints_right, likeness, match_people

_SEED = 770_999
_SHORT_SIDES_PX = {1: (512, 724, 1024), 2: (360, 512, 720)}  # by aspect, about the scenes' own
_BLUR_PX = 1.2


def draw_true_crowds(count: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pictures, uint8 (H, W, 3), with their people's joints, float (P, 18, 2) in pixels, and which of these are seen, bool."""
    for number in range(count):
        aspect = 1 + number % 2
        height = _SHORT_SIDES_PX[aspect][number % 3]
        crowd = draw_discernible((_SEED, number), number % 8 + 1, aspect, BACKGROUNDS)
        view = crowd.draw(height * aspect, height, np.random.default_rng([_SEED, number]))
        points = crowd.keypoints(height * aspect, height)
        x, y = points[:, :, 0].astype(int), points[:, :, 1].astype(int)
        inside = (x >= 0) & (x < height * aspect) & (y >= 0) & (y < height)
        covered_by = view.instance[y.clip(0, height - 1), x.clip(0, height * aspect - 1)]
        own = np.arange(1, len(points) + 1)[:, None]
        seen = inside & (points[:, :, 2] > 0) & ((covered_by == 0) | (covered_by == own))
        picture = view.picture if number % 2 else cv2.GaussianBlur(view.picture, (0, 0), _BLUR_PX)
        yield picture, points[:, :, :2], seen


def measure_judge(judge: Judge, crowds: int = 36) -> dict[str, float]:
    """`missing` and `extra`, over the people drawn, and `pck`, over the joints of them that are seen."""
    people = missing = extra = right = joints = 0
    for picture, places, seen in draw_true_crowds(crowds):
        found = judge.people(picture)
        matches = match_people(likeness(places, seen, found.keypoints))
        people += len(places)
        missing += len(places) - len(matches)
        extra += len(found.scores) - len(matches)
        joints += int(seen.sum())
        right += sum(joints_right(places[person], seen[person], found.keypoints[match]) for person, match in matches.items())
    shares = {"missing": missing / people, "extra": extra / people, "pck": right / joints}
    return {"crowds": crowds, "people": people} | {name: round(share, 3) for name, share in shares.items()}


def main() -> int:
    """Run from the command line: python -m beyondscene.backend.evaluation.measure_judge [FOLDER]."""
    parser = Parser(prog="python -m beyondscene.backend.evaluation.measure_judge", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=JUDGE_FOLDER, help="of a judge; default: our own")
    args = parser.parse_args()
    return answer(lambda: run(args.folder))


def run(folder: Path) -> int:
    print(json.dumps(measure_judge(NetJudge(folder, torch.device("cpu")))))
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
