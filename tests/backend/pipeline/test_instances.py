"""People are centred on their own canvas and go back exactly to where they stand."""

import numpy as np
import pytest
from beyondscene.backend.pipeline.instances import centre
from beyondscene.backend.planning.people import bounding_box, gather_people
from beyondscene.protocol import RenderRequest


def test_pose_fills_its_canvas(two_people: RenderRequest) -> None:
    person = gather_people(two_people)[0]
    left, top, right, bottom = bounding_box(centre(person.keypoints, 256, 0.8).apply(person.keypoints))
    assert bottom - top == pytest.approx(0.8 * 256)
    assert (left + right) / 2 == pytest.approx(128) and (top + bottom) / 2 == pytest.approx(128)


def test_transform_goes_back_exactly(two_people: RenderRequest) -> None:
    person = gather_people(two_people)[1]
    at = centre(person.keypoints, 256, 0.8)
    on_canvas = at.apply(person.keypoints)[:, :2]
    back = (on_canvas - (at.shift_x, at.shift_y)) / at.scale
    assert np.allclose(back, person.keypoints[:, :2])


def test_far_people_come_first(two_people: RenderRequest) -> None:
    assert [person.character.name for person in gather_people(two_people)] == ["Ana", "Bo"]
