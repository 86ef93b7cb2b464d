"""Everything that is measured of one picture of one scene."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from ...protocol import DRAWN, RenderRequest
from ...protocol.emphasis import without_emphasis
from ..pipeline.conditions import whole_prompt
from .backdrops import classify_backdrop
from .colours import as_planned, chance_of_leaks, find_leaks, judge_colours, read_colours, shown_as_planned
from .judge import Found, Judge
from .keypoints import joints_right, likeness, match_people, oks
from .places import place_people
from .results import PersonScore, SceneScore
from .scenes import EvaluationScene, Truth
from .texture import patch_distance, seam_score, sharpness
from .wishes import read_wishes, visible_parts


@dataclass(frozen=True)
class PlannedPoses:
    """The poses of a scene's people. keypoints: float (P, 18, 2), px. counts: bool (P, 18), joints that must be seen.

    placed: bool (P, 18), joints that have a place, also those that somebody covers and those outside the picture.
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
    """Judge `picture`, uint8 of the requested size, against the plan of its scene, and its truth where there is one.

    Without a truth, colours are those that prompts name, where the plan shows them. window_px: side of the models' views, for
    the seam score.
    """
    plan, found = read_plan(scene), judge.people(picture)
    matches = match_people(likeness(plan.keypoints, plan.placed, found.keypoints))
    fit = match_texts(judge, scene, picture, plan)
    persons = []
    for number, character in enumerate(scene.request.characters):
        oks_of, right = score_pose(plan, number, found, matches.get(number))
        joints = int(plan.counts[number].sum())
        persons.append(
            PersonScore(
                id=character.id,
                oks=oks_of,
                joints_right=right,
                joints=joints,
                clip=fit.person[number],
                own_prompt=fit.own_prompt[number],
            )
        )
    score = SceneScore(
        method=method,
        scene=scene.name,
        width=scene.request.width,
        height=scene.request.height,
        people=persons,
        extra=len(found.scores) - len(matches),
        seam_score=seam_score(picture, window_px),
        seconds=seconds,
        clip=fit.whole,
        preference=judge.preference(picture, whole_text(scene.request)),
    )
    if scene.truth is None:
        return judge_wishes(judge, scene, picture, score)
    return compare_with_truth(judge, scene.truth, picture, score, scene.request.seed)


def judge_wishes(judge: Judge, scene: EvaluationScene, picture: np.ndarray, score: SceneScore) -> SceneScore:
    """`score` with the colours that the prompts name, where people's masks, or else their skeletons, lie in front."""
    characters = scene.request.characters
    planned = [read_wishes(without_emphasis(whole_prompt(person))) for person in characters]
    shown = [visible_parts(person) for person in characters]
    if not any(planned):
        return score
    return score_colours(score, judge, picture, place_people(scene.request, scene.arrays), planned, shown)


def compare_with_truth(judge: Judge, truth: Truth, picture: np.ndarray, score: SceneScore, seed: int) -> SceneScore:
    """`score` with what a truth tells: colours, whose they are, the background, and what lies in the pixels."""
    planned = as_planned(truth.looks)
    true = read_colours(truth.picture, truth.region, truth.instance, len(planned))
    return replace(
        score_colours(score, judge, picture, truth.instance, planned, shown_as_planned(planned, true)),
        background=truth.background,
        background_found=classify_backdrop(picture, truth.instance > 0),
        sharpness=sharpness(picture, truth.picture),
        patch_distance=patch_distance(picture, truth.picture, seed),
    )


def score_colours(
    score: SceneScore, judge: Judge, picture: np.ndarray, instances: np.ndarray, planned: list[dict[str, str]],
    shown: list[set[str]],
) -> SceneScore:  # fmt: skip
    """`score` with the colours of what is `shown`, and whose they were to be."""
    found = read_colours(picture, judge.regions(picture, instances), instances, len(planned))
    colours = judge_colours(planned, shown, found)
    return replace(
        score,
        people=[replace(person, colours=worn) for person, worn in zip(score.people, colours, strict=True)],
        leaks=find_leaks(planned, colours),
        leaks_by_chance=chance_of_leaks(planned, colours),
    )


@dataclass(frozen=True)
class TextFit:
    """How well a picture fits its words, cosines. person, own_prompt: for each of the plan's people; see PersonScore."""

    whole: float | None
    person: list[float | None]
    own_prompt: list[bool | None]


def match_texts(judge: Judge, scene: EvaluationScene, picture: np.ndarray, plan: PlannedPoses) -> TextFit:
    """The picture beside everybody's prompts together, then the box of each person who can be seen beside all their prompts."""
    characters = scene.request.characters
    seen = [number for number in range(len(characters)) if plan.counts[number].any()]
    crops = [crop_person(picture, plan.keypoints[number][plan.placed[number]]) for number in seen]
    prompts = [without_emphasis(whole_prompt(characters[number])) for number in seen]
    fit = judge.text_match([picture, *crops], [whole_text(scene.request), *prompts])
    nobody: list[Any] = [None] * len(characters)
    if fit is None:
        return TextFit(None, nobody, nobody)
    person, own_prompt = list(nobody), list(nobody)
    for place, number in enumerate(seen):
        beside = fit[place + 1, 1:]
        person[number] = float(beside[place])
        if len({*prompts}) > 1:
            own_prompt[number] = bool(beside[place] >= beside.max())
    return TextFit(float(fit[0, 0]), person, own_prompt)


def whole_text(request: RenderRequest) -> str:
    return without_emphasis(", ".join([request.prompt, *map(whole_prompt, request.characters)]))


def crop_person(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """uint8: the box of joints (K, 2), px, with a margin, as far as the picture reaches."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    margin = 0.15 * max(right - left, bottom - top)
    rows = slice(max(0, int(top - margin)), max(1, int(bottom + margin)))
    return picture[rows, max(0, int(left - margin)) : max(1, int(right + margin))]


def score_pose(plan: PlannedPoses, person: int, found: Found, match: int | None) -> tuple[float | None, int]:
    """OKS over the joints that must be seen, and how many of them are right; None and 0 where nobody was found."""
    if match is None:
        return None, 0
    planned, counts, placed = plan.keypoints[person], plan.counts[person], plan.placed[person]
    there = found.keypoints[match]
    alike = float(oks(planned[None], counts[None], there[None], placed[None])[0, 0])
    return alike, joints_right(planned, counts, there, placed)
