"""Rendered views agree with their masks, keypoints and captions, and depend on nothing but the seed."""

import numpy as np
import pytest
from beyondscene.backend.pose import KEYPOINT_NAMES
from beyondscene.backend.training.renderer.looks import GARMENT_COLOURS, Look, describe_person
from beyondscene.backend.training.renderer.raster import LOWER_BODY, REGIONS, UPPER_BODY
from beyondscene.backend.training.renderer.scenes import FRAMINGS, Framing, View, draw_view, people_from_left


def view(seed: int, framing: Framing) -> View:
    return draw_view(np.random.default_rng(seed), 128, framing)


@pytest.mark.parametrize("framing", list(FRAMINGS))
def test_views_are_deterministic_and_consistent(framing: Framing) -> None:
    one, other = view(5, framing=framing), view(5, framing=framing)
    assert np.array_equal(one.picture, other.picture)
    assert one.caption == other.caption
    assert one.picture.shape == (128, 128, 3)
    assert one.region.max() < len(REGIONS)
    assert np.array_equal(one.region > 0, one.instance > 0)
    assert len(one.looks) == len(one.keypoints)
    assert len(one.looks) == {"empty": 0, "several": len(one.looks)}.get(framing, 1)


def test_joints_lie_on_the_person() -> None:
    hits = []
    joints = [
        KEYPOINT_NAMES.index(name) for name in ("neck", "right_elbow", "left_elbow", "right_knee", "left_knee", "left_ankle")
    ]
    for seed in range(20):
        portrait = view(seed, framing="portrait")
        for x, y in portrait.keypoints[0, joints, :2]:
            if 0 <= x < 128 and 0 <= y < 128:
                hits.append(portrait.instance[int(y), int(x)] == 1)
    assert len(hits) > 100
    assert np.mean(hits) > 0.95


def test_people_are_drawn_far_to_near() -> None:
    for seed in range(10):
        depth = view(seed, framing="several").keypoints[:, KEYPOINT_NAMES.index("right_hip"), 3]
        assert np.all(np.diff(depth) < 0.5)


def test_garments_have_the_colours_of_the_caption() -> None:
    for seed in range(20):
        portrait = view(seed, framing="portrait")
        look = portrait.looks[0]
        for region, word in ((UPPER_BODY, look.shirt), (LOWER_BODY, look.trousers)):
            mean = portrait.picture[portrait.region == region].mean(axis=0)
            shades = {name: np.linalg.norm(mean - 0.88 * np.array(colour)) for name, colour in GARMENT_COLOURS.items()}
            assert min(shades, key=shades.__getitem__) == word
            assert word in portrait.caption


def test_usual_caption() -> None:
    look = Look(noun="person", shirt="orange", trousers="blue", hair="brown", skin=0, short_sleeves=False)
    assert describe_person(look) == "a person with an orange shirt, blue trousers and brown hair"


def test_people_from_left() -> None:
    instance = np.zeros((4, 8), np.uint8)
    instance[:, 6:], instance[:, 1:3] = 1, 2
    assert people_from_left(instance) == [1, 0]
