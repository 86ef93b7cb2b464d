"""Which colour a garment or hair has, and whose it was meant to be."""

import cv2
import numpy as np

from ..mannequins.looks import GARMENT_COLOURS, HAIR_COLOURS, Look
from ..mannequins.raster import HAIR, LOWER_BODY, UPPER_BODY
from .results import Leak, PartColour

PARTS = {"shirt": UPPER_BODY, "trousers": LOWER_BODY, "hair": HAIR}
GARMENTS = ("shirt", "trousers")
FEWEST_PX = 12  # of a region at the judge's scale; fewer have no colour worth judging
_LIT = 0.88  # surfaces are lit from one side: on average they are a little darker than their paint


def palette(part: str) -> dict[str, tuple[int, int, int]]:
    """The colour words that `part` may have, with their paint."""
    return HAIR_COLOURS if part == "hair" else GARMENT_COLOURS


def colour_word(lab: np.ndarray, part: str) -> str:
    """The word whose paint is nearest in Lab to the mean of the pixels `lab` (N, 3)."""
    words = palette(part)
    paints = to_lab((np.array([list(words.values())]) * _LIT).astype(np.uint8))[0]
    return list(words)[int(np.linalg.norm(paints - lab.mean(0), axis=1).argmin())]


def to_lab(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to float32 CIELAB, L from 0 to 100."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def read_colours(picture: np.ndarray, regions: np.ndarray, instances: np.ndarray, people: int) -> list[dict[str, str]]:
    """Per person, the colour word of each part that is there.

    picture: uint8 (H, W, 3). regions: uint8 (h, w), where the parts are, at any scale. instances: whole numbers (H, W), where
    the people are meant to be; person i is i + 1.
    """
    height, width = regions.shape
    lab = to_lab(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    places = cv2.resize(instances, (width, height), interpolation=cv2.INTER_NEAREST)
    found: list[dict[str, str]] = []
    for person in range(1, people + 1):
        words = {}
        for part, region in PARTS.items():
            inside = (regions == region) & (places == person)
            if np.count_nonzero(inside) >= FEWEST_PX:
                words[part] = colour_word(lab[inside], part)
        found.append(words)
    return found


def as_planned(looks: tuple[Look, ...]) -> list[dict[str, str]]:
    """Per person, the colour word that each part is to have."""
    return [{part: getattr(look, part) for part in PARTS} for look in looks]


def shown_as_planned(planned: list[dict[str, str]], true: list[dict[str, str]]) -> list[set[str]]:
    """Per person, the parts that the true picture shows in the planned word.

    true: what it shows, with its true regions. Where a part is hidden, under a hat, or in a light that gives it another colour,
    no picture could be told right from wrong.
    """
    return [{part for part, word in shown.items() if word == plan[part]} for plan, shown in zip(planned, true, strict=True)]


def judge_colours(planned: list[dict[str, str]], sure: list[set[str]], found: list[dict[str, str]]) -> list[list[PartColour]]:
    """Planned and found words of the parts that count, per person. sure: which parts can be seen."""
    return [
        [PartColour(part=part, planned=plan[part], found=seen.get(part)) for part in PARTS if part in plan and part in shown]
        for plan, shown, seen in zip(planned, sure, found, strict=True)
    ]


def find_leaks(planned: list[dict[str, str]], colours: list[list[PartColour]]) -> tuple[Leak, ...]:
    """Parts whose wrong colour is that which the same part of somebody else was to have; shared by all such people."""
    leaks = []
    for wearer, parts in enumerate(colours):
        for part in parts:
            if part.found is None or part.found == part.planned:
                continue
            owners = [i for i, plan in enumerate(planned) if i != wearer and plan.get(part.part) == part.found]
            leaks += [Leak(wearer=wearer, owner=owner, part=part.part, share=1 / len(owners)) for owner in owners]
    return tuple(leaks)


def chance_of_leaks(planned: list[dict[str, str]], colours: list[list[PartColour]]) -> float:
    """How many leaks there would be if the wrong colours were drawn by lot from the other words."""
    expected = 0.0
    for wearer, parts in enumerate(colours):
        for part in parts:
            if part.found is not None and part.found != part.planned:
                others = {plan.get(part.part) for i, plan in enumerate(planned) if i != wearer} - {part.planned, None}
                expected += len(others) / (len(palette(part.part)) - 1)
    return expected


def leakage_matrix(people: int, colours: list[list[PartColour]], leaks: tuple[Leak, ...]) -> np.ndarray:
    """float (people, people): [i, j] counts the parts of person i in the colour of person j; right ones on the diagonal."""
    matrix = np.zeros((people, people))
    for person, parts in enumerate(colours):
        matrix[person, person] = sum(part.found == part.planned for part in parts)
    for leak in leaks:
        matrix[leak.wearer, leak.owner] += leak.share
    return matrix
