"""Everything that is measured of one picture of one scene."""

from dataclasses import dataclass

import numpy as np

from ...protocol import DRAWN
from .backdrops import classify_backdrop
from .colours import chance_of_leaks, find_leaks, judge_colours, read_colours
from .judge import Found, Judge
from .keypoints import joints_right, likeness, match_people, oks
from .results import PersonScore, SceneScore
from .scenes import EvaluationScene
from .texture import patch_distance, seam_score, sharpness


@dataclass(frozen=True)
class PlannedPoses:
    """The poses of a scene's people. keypoints: float (P, 18, 2), px. counts: bool (P, 18), joints that must be seen.

    placed: bool (P, 18), joints that have a place in the picture, also those that somebody covers.
    """

    keypoints: np.ndarray
    counts: np.ndarray
    placed: np.ndarray


def read_plan(scene: EvaluationScene) -> PlannedPoses:
    people = scene.request.characters
    keypoints = np.array([[(joint.x, joint.y) for joint in person.keypoints] for person in people]).reshape(len(people), 18, 2)
    states = np.array([[joint.state for joint in person.keypoints] for person in people]).reshape(len(people), 18)
    return PlannedPoses(keypoints, states == "visible", np.isin(states, DRAWN))


def measure_picture(
    judge: Judge, scene: EvaluationScene, picture: np.ndarray, method: str, window_px: int, seconds: float = 0.0
) -> SceneScore:
    """Judge `picture`, uint8 of the requested size, against the plan and the truth of its scene.

    window_px: side of the models' views, for the seam score.
    """
    plan, found = read_plan(scene), judge.people(picture)
    matches = match_people(likeness(plan.keypoints, plan.placed, found.keypoints))
    truth, people = scene.truth, len(scene.request.characters)
    true_words = read_colours(truth.picture, truth.region, truth.instance, people)
    words = read_colours(picture, judge.regions(picture, truth.instance), truth.instance, people)
    colours = judge_colours(scene.looks, true_words, words)
    leaks = find_leaks(scene.looks, colours)
    pictures, texts = pair_texts(scene, picture, plan)
    fit = judge.text_match(pictures, texts)
    persons = []
    for number, character in enumerate(scene.request.characters):
        oks_of, right = score_pose(plan, number, found, matches.get(number))
        persons.append(
            PersonScore(
                id=character.id,
                oks=oks_of,
                joints_right=right,
                joints=int(plan.counts[number].sum()),
                colours=colours[number],
                clip=fit[number + 1] if fit else None,
            )
        )
    return SceneScore(
        method=method,
        scene=scene.name,
        width=scene.request.width,
        height=scene.request.height,
        people=persons,
        extra=len(found.scores) - len(matches),
        leaks=leaks,
        leaks_by_chance=chance_of_leaks(scene.looks, colours),
        background=scene.background,
        background_found=classify_backdrop(picture, truth.instance > 0),
        sharpness=sharpness(picture, truth.picture),
        seam_score=seam_score(picture, window_px),
        patch_distance=patch_distance(picture, truth.picture, scene.request.seed),
        seconds=seconds,
        clip=fit[0] if fit else None,
        preference=judge.preference(picture, texts[0]),
    )


def pair_texts(scene: EvaluationScene, picture: np.ndarray, plan: PlannedPoses) -> tuple[list[np.ndarray], list[str]]:
    """The picture and everybody's prompts together, then the box of each person and the person's own prompt."""
    characters = scene.request.characters
    pictures, texts = [picture], [", ".join([scene.request.prompt, *(character.prompt for character in characters)])]
    for number, character in enumerate(characters):
        points = plan.keypoints[number][plan.placed[number]]
        (left, top), (right, bottom) = points.min(0), points.max(0)
        margin = 0.15 * max(right - left, bottom - top)
        rows = slice(max(0, int(top - margin)), max(1, int(bottom + margin)))
        pictures.append(picture[rows, max(0, int(left - margin)) : max(1, int(right + margin))])
        texts.append(character.prompt)
    return pictures, texts


def score_pose(plan: PlannedPoses, person: int, found: Found, match: int | None) -> tuple[float | None, int]:
    """OKS over the joints that must be seen, and how many of them are right; None and 0 where nobody was found."""
    if match is None:
        return None, 0
    planned, counts, there = plan.keypoints[person], plan.counts[person], found.keypoints[match]
    alike = float(oks(planned[None], counts[None], there[None])[0, 0])
    return alike, joints_right(planned, counts, there, plan.placed[person])
