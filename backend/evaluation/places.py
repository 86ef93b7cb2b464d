"""Where people are meant to be, as far as a request says it."""

from functools import reduce

import cv2
import numpy as np

from ...protocol import SEEN, RenderRequest
from ..pipeline.segment import draw_bones
from ..planning.people import Person, bounding_box, gather_people

FLESH = 0.05  # by which a body reaches beyond its bones, of its size


def outline(person: Person, request: RenderRequest, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """bool (height, width): where the person's mask shows them, or without one, thickened bones. arrays: masks by digest."""
    mask = person.character.mask
    if mask is not None:
        seen = (arrays[mask.digest] == SEEN).astype(np.uint8)
        return cv2.resize(seen, (request.width, request.height), interpolation=cv2.INTER_NEAREST) > 0
    left, top, right, bottom = bounding_box(person.keypoints)
    reach = 2 * max(1, round(FLESH * max(right - left, bottom - top))) + 1
    nothing = np.zeros((request.height, request.width), bool)  # of who is out of the picture
    bones = reduce(np.logical_or, draw_bones(person.keypoints, request.height, request.width), nothing)
    return cv2.dilate(bones.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


def place_people(request: RenderRequest, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """uint16 (height, width): 0 nobody, i + 1 where characters[i] is in front."""
    numbers = {character.id: number for number, character in enumerate(request.characters, start=1)}
    instances = np.zeros((request.height, request.width), np.uint16)
    for person in gather_people(request):  # far to near
        instances[outline(person, request, arrays)] = numbers[person.character.id]
    return instances
