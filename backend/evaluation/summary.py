"""From many scores to a few numbers per method, with their uncertainty."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .colours import GARMENTS
from .results import SceneScore

RESAMPLES = 2000
_SEED = 95

Ratio = tuple[float, float]  # what a scene adds above and below the line of a metric


def count_colours(score: SceneScore, parts: Sequence[str]) -> Ratio:
    judged = [colour for person in score.people for colour in person.colours if colour.part in parts]
    return sum(colour.found == colour.planned for colour in judged), len(judged)


def leaked(score: SceneScore, by_chance: bool = False) -> Ratio:
    """Parts in somebody else's colour over all that were judged."""
    judged = sum(len(person.colours) for person in score.people)
    return (score.leaks_by_chance if by_chance else sum(leak.share for leak in score.leaks)), judged


def mean_of(values: Sequence[float | None]) -> Ratio:
    known = [value for value in values if value is not None]
    return sum(known), len(known)


# A metric is a ratio of sums over scenes, so that a scene of eight weighs as much as its people.
METRICS: dict[str, Callable[[SceneScore], Ratio]] = {
    "missing_rate": lambda score: (score.missing, len(score.people)),
    "extra_rate": lambda score: (score.extra, len(score.people)),
    "pose_pck": lambda score: (
        sum(person.joints_right for person in score.people),
        sum(person.joints for person in score.people if person.found),
    ),
    "pose_oks": lambda score: mean_of([person.oks for person in score.people]),
    "garment_accuracy": lambda score: count_colours(score, GARMENTS),
    "hair_accuracy": lambda score: count_colours(score, ("hair",)),
    "leakage_rate": leaked,
    "leakage_by_chance": lambda score: leaked(score, by_chance=True),
    "background_accuracy": lambda score: (score.background_found == score.background, 1),
    "sharpness": lambda score: (score.sharpness, 1),
    "seam_score": lambda score: (score.seam_score, 1),
    "clip_global": lambda score: mean_of([score.clip]),
    "clip_person": lambda score: mean_of([person.clip for person in score.people]),
    "preference": lambda score: mean_of([score.preference]),
    "seconds": lambda score: (score.seconds, 1),
}


def summarise(method: str, scores: Sequence[SceneScore]) -> dict[str, Any]:
    """One object per method: each metric, and under "ci95" its bootstrap interval over scenes.

    None where there was nothing to measure, as the poses of people who were all missing.
    """
    told: dict[str, Any] = {
        "method": method, "scenes": len(scores), "people": sum(len(score.people) for score in scores)
    }  # fmt: skip
    intervals: dict[str, list[float] | None] = {}
    for name, ratio in METRICS.items():
        parts = np.array([ratio(score) for score in scores], float).reshape(-1, 2)
        if parts[:, 1].sum() == 0:
            told[name] = intervals[name] = None
            continue
        told[name] = round(float(parts[:, 0].sum() / parts[:, 1].sum()), 4)
        intervals[name] = bootstrap(parts)
    return told | {"ci95": intervals}


def bootstrap(parts: np.ndarray) -> list[float]:
    """The 2.5th and 97.5th percentile of the ratio of sums of `parts` (scenes, 2) when scenes are drawn anew."""
    picked = np.random.default_rng(_SEED).integers(len(parts), size=(RESAMPLES, len(parts)))
    above, below = parts[picked].sum(1).T
    ratios = above[below > 0] / below[below > 0]
    return [round(float(limit), 4) for limit in np.percentile(ratios, (2.5, 97.5))]
