"""Cut-outs land where their people stand; nearer ones cover farther ones."""

from dataclasses import replace as replaced
from itertools import pairwise

import numpy as np
import pytest
from beyondscene.backend.pipeline.composite import compose
from beyondscene.backend.pipeline.instances import Portrait, centre
from beyondscene.backend.pipeline.people import gather_people, is_seen
from beyondscene.backend.pipeline.plan import Size
from beyondscene.backend.pipeline.segment import Cutout, keep_body
from beyondscene.protocol import RenderRequest, describe_array
from msgspec.structs import replace

SIDE = 64
COLOURS = ((200, 30, 30), (30, 30, 200))


@pytest.fixture
def cutouts(two_people: RenderRequest) -> list[Cutout]:
    """Ana as a red, Bo as a blue block around their poses."""
    made = []
    for person, colour in zip(gather_people(two_people), COLOURS, strict=True):
        at = centre(person.keypoints, SIDE, 0.8)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[8:-8, 16:-16] = True
        image = np.where(mask[..., None], np.array(colour, np.uint8), np.uint8(255))
        made.append(Cutout(Portrait(person, at, image), mask, {"head": mask}))
    return made


def test_people_stand_where_the_request_puts_them(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    collage = compose(two_people, {}, cutouts, Size(96, 64), 1.0)
    assert collage.image.shape == (64, 96, 3)
    for figure, colour in zip(collage.figures, COLOURS, strict=True):
        rows, columns = np.nonzero(figure.mask)
        hips = figure.person.keypoints[[8, 11], :2].mean(0) / 2  # the base image has half the size of the request
        assert abs(rows.mean() - hips[1]) < 6 and abs(columns.mean() - hips[0]) < 10
        assert np.abs(collage.image[figure.mask].mean(0) - colour).max() < 40


def test_nearer_people_cover_farther_ones(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    far, near = compose(two_people, {}, cutouts, Size(96, 64), 0).figures
    alone = compose(two_people, {}, cutouts[:1], Size(96, 64), 0).figures[0]
    assert not (far.mask & near.mask).any()
    assert far.mask.sum() < alone.mask.sum()
    assert not (far.parts["head"] & near.mask).any()


@pytest.mark.parametrize("divisor", [1, 2])
def test_people_are_seen_only_where_the_masks_of_the_request_show_them(
    two_people: RenderRequest, cutouts: list[Cutout], divisor: int
) -> None:
    shape = (two_people.height // divisor, two_people.width // divisor)
    upper, nowhere = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    upper[: shape[0] // 2] = 255
    arrays = {describe_array(mask).digest: mask for mask in (upper, nowhere)}
    ana, bo = (
        replace(one, mask=describe_array(mask)) for one, mask in zip(two_people.characters, (upper, nowhere), strict=True)
    )
    request = replace(two_people, characters=(ana, bo))
    people = gather_people(request)
    portraits = [replaced(c.portrait, person=person) for c, person in zip(cutouts, people, strict=True)]
    masked = [replaced(c, portrait=portrait) for c, portrait in zip(cutouts, portraits, strict=True)]
    collage = compose(request, arrays, masked, Size(96, 64), 1.0)
    far, near = collage.figures
    assert far.mask[:32].any() and not far.mask[32:].any()
    assert not near.mask.any() and not collage.cover[32:].any()  # something hides Bo, who therefore hides nobody
    assert [is_seen(person.character, arrays) for person in people] == [True, False]
    assert all(is_seen(character, {}) for character in two_people.characters)


def test_no_rim_of_the_portraits_backdrop_comes_along(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    collage = compose(two_people, {}, cutouts, Size(96, 64), 1.0)
    assert collage.image.min(-1).max() < 140  # the portraits are white around their people


def test_only_the_piece_under_the_skeleton_is_kept(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints
    mask = np.zeros((128, 192), bool)
    mask[10:120, 50:90] = True
    mask[60:62, 60:62] = False  # an error of the segmenter
    mask[100:110, 150:170] = True  # somebody else
    kept = keep_body(mask, joints)
    assert kept[60, 60] and not kept[105, 160]


def test_a_person_whom_the_segmenter_missed_is_not_lost(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints
    kept = keep_body(np.zeros((128, 192), bool), joints)
    assert all(kept[int(y), int(x)] for x, y, _ in joints)


def test_pairs_of_masks_are_disjoint(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    for first, second in pairwise(compose(two_people, {}, cutouts, Size(96, 64), 1.0).figures):
        assert not (first.mask & second.mask).any()
