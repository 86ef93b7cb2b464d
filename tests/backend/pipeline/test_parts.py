"""Every part that has a prompt is found: as the segmenter says, or by the joints."""

from collections.abc import Collection

import numpy as np
import pytest
from beyondscene.backend.models.segmenters import Box
from beyondscene.backend.pipeline.instances import Portrait, centre
from beyondscene.backend.pipeline.parts import find_part
from beyondscene.backend.pipeline.segment import cut_out
from beyondscene.backend.planning.people import bounding_box, gather_people
from beyondscene.protocol import PartName, RenderRequest
from msgspec.structs import replace
from torch import nn

SIDE = 128
NOSE, RWRIST, RELBOW, RKNEE, RANKLE, RSHOULDER = 0, 4, 3, 9, 10, 2


@pytest.fixture
def joints(two_people: RenderRequest) -> np.ndarray:
    person = gather_people(two_people)[0]
    return centre(person.keypoints, SIDE, 0.8).apply(person.keypoints)


@pytest.fixture
def body() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:122, 40:88] = True
    return mask


def middle(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(0)[::-1]


@pytest.mark.parametrize(
    ("part", "joint", "other"),
    [("head", NOSE, RSHOULDER), ("face", NOSE, RSHOULDER), ("upper_body", RELBOW, RKNEE), ("lower_body", RKNEE, RELBOW)],
)
def test_parts_lie_around_their_joints(body: np.ndarray, joints: np.ndarray, part: str, joint: int, other: int) -> None:
    mask = find_part(part, {}, body, joints)
    assert not (mask & ~body).any()
    x, y = joints[joint, :2].astype(int)
    assert mask[y, x] and not mask[tuple(joints[other, 1::-1].astype(int))]


def test_hands_and_feet_lie_beyond_the_last_joint(body: np.ndarray, joints: np.ndarray) -> None:
    hands, feet = (find_part(part, {}, body, joints) for part in ("hands", "feet"))
    assert hands.any() and feet.any()
    assert np.argwhere(hands)[:, 0].min() >= joints[RWRIST, 1] - 3 and np.argwhere(feet)[:, 0].min() >= joints[RANKLE, 1] - 3


def test_a_joint_that_is_not_drawn_has_no_part_of_the_body(body: np.ndarray, joints: np.ndarray) -> None:
    without = joints.copy()
    without[[RWRIST, NOSE], 2] = 0
    without[NOSE, :2] = 0
    assert np.argwhere(find_part("hands", {}, body, without))[:, 1].min() > joints[NOSE, 0]  # her left one alone
    assert find_part("face", {}, body, without).any()  # around the eyes


def test_hair_is_the_head_without_its_face_and_a_found_head_is_no_body(body: np.ndarray, joints: np.ndarray) -> None:
    head, hair, face = (find_part(part, {}, body, joints) for part in ("head", "hair", "face"))
    assert hair.any() and not (hair & face).any() and (hair | face == head).all()
    x, y = joints[NOSE, :2].astype(int)
    assert face[y, x] and hair[9, x]  # on top of the head
    found = {"head": np.zeros_like(body)}
    found["head"][:60] = True
    assert (find_part("head", found, body, joints) == found["head"] & body).all()
    assert not find_part("upper_body", found, body, joints)[:60].any()


def test_a_part_of_which_a_segmenter_finds_nothing_is_where_the_joints_say(body: np.ndarray, joints: np.ndarray) -> None:
    nothing = {"hair": np.zeros_like(body)}
    assert (find_part("hair", nothing, body, joints) == find_part("hair", {}, body, joints)).all()
    assert find_part("hair", nothing, body, joints).any()


class Outline:
    """A segmenter that knows persons only. wanted, boxes: what it was asked for and where, portrait by portrait."""

    networks: tuple[nn.Module, ...] = ()

    def __init__(self) -> None:
        self.wanted: list[set[str]] = []
        self.boxes: list[Box] = []

    def segment(self, image: np.ndarray, wanted: Collection[str], body: Box) -> dict[str, np.ndarray]:
        self.wanted.append(set(wanted))
        self.boxes.append(body)
        return {"person": image[..., 0] > 100}


def test_a_prompt_for_a_part_that_the_segmenter_does_not_know_has_a_mask(two_people: RenderRequest, body: np.ndarray) -> None:
    ana = replace(two_people.characters[0], part_prompts={"hands": "white gloves", "face": ""})
    person = gather_people(replace(two_people, characters=(ana,)))[0]
    portrait = Portrait(person, centre(person.keypoints, SIDE, 0.8), np.where(body[..., None], np.uint8(200), np.uint8(0)))
    (cutout,) = cut_out(Outline(), [portrait])
    assert set(cutout.parts) == {"hands"} and cutout.parts["hands"].any()


@pytest.mark.parametrize(
    ("prompts", "wanted"),
    [
        ({}, set()),
        ({"hair": " "}, set()),
        ({"feet": "boots"}, {"feet"}),
        ({"upper_body": "a red coat"}, {"upper_body", "head", "hair"}),  # which begins where the head ends
    ],
)
def test_a_segmenter_is_asked_for_what_has_a_prompt(
    two_people: RenderRequest, body: np.ndarray, prompts: dict[PartName, str], wanted: set[str]
) -> None:
    ana = replace(two_people.characters[0], part_prompts=prompts)
    person = gather_people(replace(two_people, characters=(ana,)))[0]
    image = np.where(body[..., None], np.uint8(200), np.uint8(0))
    at = centre(person.keypoints, SIDE, 0.8)
    cut_out(outline := Outline(), [Portrait(person, at, image)])
    assert outline.wanted == [wanted] and outline.boxes == [bounding_box(at.apply(person.keypoints))]
