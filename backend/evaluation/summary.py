"""From many scores to a few numbers per method, with their uncertainty."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm, t

from .colours import GARMENTS
from .results import SceneScore

RESAMPLES = 2000
FEWEST_SCENES = 4  # of two, equal methods seem to differ in three cases of ten; from four on in one of twenty
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
    "missing_rate": lambda score: (score.missing, score.planned),
    "extra_rate": lambda score: (score.extra, score.planned),
    "pose_pck": lambda score: (
        sum(person.joints_right for person in score.people),
        sum(person.joints for person in score.people if person.found),
    ),
    "pose_oks": lambda score: mean_of([person.oks for person in score.people if person.judged]),
    "garment_accuracy": lambda score: count_colours(score, GARMENTS),
    "hair_accuracy": lambda score: count_colours(score, ("hair",)),
    "leakage_rate": leaked,
    "leakage_by_chance": lambda score: leaked(score, by_chance=True),
    "background_accuracy": lambda score: mean_of(
        [None if score.background is None else score.background_found == score.background]
    ),
    "sharpness": lambda score: mean_of([score.sharpness]),
    "seam_score": lambda score: (score.seam_score, 1),
    "patch_distance": lambda score: mean_of([score.patch_distance]),
    "clip_global": lambda score: mean_of([score.clip]),
    "clip_person": lambda score: mean_of([person.clip for person in score.people]),
    "own_prompt_rate": lambda score: mean_of([person.own_prompt for person in score.people]),
    "preference": lambda score: mean_of([score.preference]),
    "seconds": lambda score: (score.seconds, 1),
}

BESIDE = ("missing_rate", "extra_rate", "pose_pck", "garment_accuracy", "hair_accuracy", "leakage_rate")
# held against the pixels of the renderer's pictures, whose people are mannequins
AGAINST_RENDERS = ("background_accuracy", "sharpness", "patch_distance")


def summarise(method: str, scores: Sequence[SceneScore]) -> dict[str, Any]:
    """One object per method: each metric, and under "ci95" its bootstrap interval over scenes.

    None where there was nothing to measure, as the poses of people who were all missing.
    """
    summary: dict[str, Any] = {
        "method": method, "scenes": len(scores), "people": sum(score.planned for score in scores)
    }  # fmt: skip
    intervals: dict[str, list[float] | None] = {}
    for name, ratio in METRICS.items():
        parts = np.array([ratio(score) for score in scores], float).reshape(-1, 2)
        if parts[:, 1].sum() == 0:
            summary[name] = intervals[name] = None
            continue
        summary[name] = round(float(parts[:, 0].sum() / parts[:, 1].sum()), 4)
        telling = parts[tells(parts)]
        intervals[name] = interval(resampled(telling), len(telling))
    return summary | {"ci95": intervals}


def without(summary: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """`summary` with None for these metrics."""
    nothing = dict.fromkeys(names)
    return summary | nothing | {"ci95": summary["ci95"] | nothing}


def compare(scores: Sequence[SceneScore], others: Sequence[SceneScore]) -> dict[str, dict[str, Any] | None]:
    """For each metric of BESIDE, what `scores` has more than `others`, and the bootstrap interval of that difference.

    Both are of the same scenes in the same order, and each draw takes the same ones from both, so that what makes a scene hard
    for all counts for nothing: intervals of two methods may overlap where that of their difference leaves out 0. None where one
    of them has nothing to measure.
    """
    differences: dict[str, dict[str, Any] | None] = {}
    for name in BESIDE:
        first, second = (np.array([METRICS[name](score) for score in part], float) for part in (scores, others))
        if first[:, 1].sum() == 0 or second[:, 1].sum() == 0:
            differences[name] = None
            continue
        difference = first[:, 0].sum() / first[:, 1].sum() - second[:, 0].sum() / second[:, 1].sum()
        some = tells(first) | tells(second)
        fewest = min(np.count_nonzero(tells(part)) for part in (first, second))
        around = interval(resampled(first[some]) - resampled(second[some]), fewest)
        differences[name] = {"difference": round(float(difference), 4), "ci95": around}
    return differences


def tells(parts: np.ndarray) -> np.ndarray:
    """bool (scenes,): which of them a metric has anything of; (scenes, 2), as Ratio.

    The others, as of colours those that name none, make no interval surer.
    """
    return parts.any(1)


def resampled(parts: np.ndarray) -> np.ndarray:
    """float (RESAMPLES,): the ratio of sums when scenes are drawn anew, the same for all methods; NaN for nothing over 0."""
    picked = np.random.default_rng(_SEED).integers(len(parts), size=(RESAMPLES, len(parts)))
    above, below = parts[picked].sum(1).T
    return np.divide(above, below, out=np.full(RESAMPLES, np.nan), where=below > 0)


def interval(drawn: np.ndarray, scenes: int) -> list[float] | None:
    """The 95 % interval that the ratios `drawn` anew from so many scenes give: the expanded percentiles of the bootstrap.

    Plain percentiles are too sure of themselves where scenes are few, for want of n / (n - 1) of the variance and of Student's
    t in place of the normal distribution (Hesterberg, arXiv 1411.5279). None for so few that even these would be.
    """
    if scenes < FEWEST_SCENES:
        return None
    tail = norm.cdf(math.sqrt(scenes / (scenes - 1)) * t.ppf(0.025, scenes - 1))
    return [round(float(limit), 4) for limit in np.nanpercentile(drawn, (100 * tail, 100 * (1 - tail)))]
