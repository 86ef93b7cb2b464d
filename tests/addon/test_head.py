"""The face from the proportions of a head."""

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters.head import estimate_face

REST = {
    "RShoulder": np.array([-0.17, 0.0, 1.3]),
    "LShoulder": np.array([0.17, 0.0, 1.3]),
    "RAnkle": np.array([-0.1, 0.0, 0.05]),
    "LAnkle": np.array([0.1, 0.0, 0.05]),
    "Crown": np.array([0.0, 0.0, 1.64]),
}


def test_the_face_looks_forward_with_the_persons_left_on_its_left() -> None:
    face = estimate_face(REST)
    assert face["Nose"][1] < face["LEye"][1] < face["LEar"][1] < 0  # forward is -Y for a person whose left is +X
    assert face["LEar"][0] > face["LEye"][0] > 0 > face["REye"][0] > face["REar"][0]
    assert 1.3 < face["Nose"][2] < face["LEye"][2] < 1.64


def test_the_face_follows_any_frame_and_unit_of_the_armature() -> None:
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    moved = {name: 100 * turn @ place + 7 for name, place in REST.items()}
    for name, place in estimate_face(REST).items():
        np.testing.assert_allclose(estimate_face(moved)[name], 100 * turn @ place + 7)


def test_a_head_bone_whose_tail_is_no_crown_does_not_shrink_the_face() -> None:
    sideways = REST | {"Crown": np.array([0.3, 0.0, 1.45])}
    np.testing.assert_allclose(estimate_face(sideways)["LEye"], estimate_face(REST)["LEye"], atol=0.01)


def test_the_head_of_a_child_is_as_large_as_its_skull_bone() -> None:
    shoulders = np.array((0, 0, 1.3))
    child = estimate_face(REST | {"Crown": shoulders + np.array((0, 0, 1.3 * 0.34))})
    for name, place in estimate_face(REST).items():
        np.testing.assert_allclose(child[name] - shoulders, 1.3 * (place - shoulders))


@pytest.mark.parametrize(("joint", "height"), [("Knee", 0.44), ("Hip", 0.845)])
def test_a_rig_without_ankles_has_a_face_of_the_same_size(joint: str, height: float) -> None:
    legs = {f"{side}{joint}": np.array([x, 0.0, height]) for side, x in (("R", -0.1), ("L", 0.1))}
    upper = {name: place for name, place in REST.items() if "Ankle" not in name and name != "Crown"}
    for name, place in estimate_face(REST).items():
        np.testing.assert_allclose(estimate_face(upper | legs)[name], place, atol=0.01)


def test_without_shoulders_or_legs_there_is_no_guess() -> None:
    assert estimate_face({"Crown": REST["Crown"]}) == {}
    assert estimate_face({name: place for name, place in REST.items() if "Ankle" not in name}) == {}


def test_a_rig_with_eyes_has_its_nose_and_ears_around_them() -> None:
    face = estimate_face(REST)
    lower = np.array([0.0, -0.02, -0.05])
    moved = estimate_face(REST | {side: face[side] + lower for side in ("REye", "LEye")})
    for name, place in face.items():
        np.testing.assert_allclose(moved[name], place + lower)
