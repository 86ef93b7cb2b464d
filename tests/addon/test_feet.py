"""Feet: where toes and heels are, of rigs with one bone for all toes and of those with a bone for each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import best_match, export_request
from beyondscene.addon.exporters.feet import gather_feet
from beyondscene.addon.exporters.joints import PosedRig
from beyondscene.addon.exporters.rigs import Anchor, match_names
from beyondscene.protocol import FEET_NAMES, KEYPOINT_NAMES

from .skeletons import LANDMARKS, SKELETONS, build_rig

Example = Callable[[str], dict[str, Any]]

WITH_TOES = [name for name, one in SKELETONS.items() if "toe" in one.names and one.family != "MMD"]  # theirs is at the tip


def feet_of(blender: Any, rig: Any, world: np.ndarray | None = None) -> dict[str, np.ndarray]:
    evaluated = rig.evaluated_get(blender.context.evaluated_depsgraph_get())
    places = gather_feet(PosedRig(evaluated, np.eye(4) if world is None else world, best_match(rig), mirrored=False))
    return {name: place for name, place in zip(FEET_NAMES, places or (), strict=False) if place is not None}


@pytest.mark.parametrize("name", WITH_TOES)
def test_every_family_with_toes_has_feet_as_long_and_wide_as_a_foot_is(blender: Any, name: str) -> None:
    rig = build_rig(blender, SKELETONS[name])
    feet = feet_of(blender, rig)
    assert set(feet) == set(FEET_NAMES)
    forward, ankle = np.array((0, -1, 0)), np.array(LANDMARKS["ankle"])
    for side, outwards in (("L", 1), ("R", -1)):
        big, small, heel = (feet[side + point] for point in ("BigToe", "SmallToe", "Heel"))
        assert (big - heel) @ forward == pytest.approx(0.15 * 1.7, abs=0.04)  # a foot is 15 % of the stature
        assert (big - small) @ forward > 0 and (small[0] - big[0]) * outwards > 0.03
        assert (heel - ankle) @ forward < -0.03 and 0 < heel[2] < ankle[2]
    np.testing.assert_allclose(feet["RHeel"], feet["LHeel"] * (-1, 1, 1), atol=1e-6)


def test_bones_of_the_toes_say_more_than_proportions_do() -> None:
    body = [part.format(side=side) for part in SKELETONS["makehuman"].names.values() for side in "RL"]
    match = match_names((*body, "toe1-2.L", "toe3-1.L", "toe5-3.L"))
    assert match.anchors["LToe"] == Anchor("toe3-1.L")
    assert match.feet == {"LBigToe": Anchor("toe1-2.L", "tail"), "LSmallToe": Anchor("toe5-3.L", "tail")}


def test_toes_bend_and_the_heel_stays(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["mixamo"])
    before = feet_of(blender, rig)
    toes = rig.pose.bones["mixamorig:LeftToeBase"]
    toes.rotation_mode = "XYZ"
    toes.rotation_euler.x = -0.6
    blender.context.view_layer.update()
    after = feet_of(blender, rig)
    assert np.linalg.norm(after["LBigToe"] - before["LBigToe"]) > 0.03
    np.testing.assert_allclose(after["LHeel"], before["LHeel"], atol=1e-6)
    np.testing.assert_allclose(after["RBigToe"], before["RBigToe"], atol=1e-6)


def test_a_rig_that_lies_or_is_large_has_the_same_feet(blender: Any) -> None:
    rig, turn = build_rig(blender, SKELETONS["unreal"]), np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]) * 100.0
    lying = build_rig(blender, SKELETONS["unreal"], turn)
    for name, place in feet_of(blender, rig).items():
        np.testing.assert_allclose(feet_of(blender, lying)[name], turn @ place, atol=1e-3)


def test_a_rig_without_toes_has_no_feet(blender: Any) -> None:
    names = {part: name for part, name in SKELETONS["unreal"].names.items() if part != "toe"}
    assert feet_of(blender, build_rig(blender, SKELETONS["unreal"]._replace(names=names))) == {}


@pytest.mark.parametrize("name", ["plaza", "duo"])
def test_feet_of_the_examples_lie_on_their_meshes_and_say_whether_they_are_seen(
    blender: Any, example: Example, name: str
) -> None:
    example(name)
    request, _ = export_request(blender.context)
    assert request.camera
    for character in request.characters:
        assert character.feet and {point.state for point in character.feet} <= {"visible", "occluded"}
        assert {point.hidden_by for point in character.feet} <= {None, "own_body", "character"}  # not the ground
        for side in "LR":
            ankle = character.keypoints[KEYPOINT_NAMES.index(f"{side}Ankle")]
            feet = [point for name, point in zip(FEET_NAMES, character.feet, strict=True) if name[0] == side]
            lengths = [np.hypot(point.x - ankle.x, point.y - ankle.y) for point in feet]
            assert len(feet) == 3 and max(lengths) * ankle.depth / request.camera.fx < 0.25
