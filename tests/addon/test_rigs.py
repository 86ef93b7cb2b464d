"""Rigs of every family: which one it is, and that each joint is found where it was put."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import ExportError, Person, best_match, detect, load_families
from beyondscene.addon.exporters.joints import PosedRig, gather_joints
from beyondscene.addon.exporters.rigs import Family, match_names
from beyondscene.addon.exporters.rigs.family import REQUIRED, match_family
from beyondscene.protocol import KEYPOINT_NAMES

from .skeletons import SKELETONS, Skeleton, build_rig, landmark

SPOTS = {"Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist", "Hip": "hip", "Knee": "knee", "Ankle": "ankle"}


def turned(degrees: float, axis: str) -> np.ndarray:
    """A rotation matrix (3, 3)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "X": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "Y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "Z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def found_joints(bpy: Any, rig: Any) -> dict[str, np.ndarray]:
    bpy.context.view_layer.update()
    evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    posed = PosedRig(evaluated, np.array(evaluated.matrix_world), detect(rig), mirrored=False)
    return {n: place for n, place in zip(KEYPOINT_NAMES, gather_joints(posed), strict=True) if place is not None}


def bend(rig: Any, bone: str, turn: np.ndarray) -> None:
    """Turn a bone about its head, in the armature's frame."""
    from mathutils import Matrix

    pose = rig.pose.bones[bone]
    about = Matrix.Translation(pose.bone.head_local)
    pose.matrix = about @ Matrix(turn.tolist()).to_4x4() @ about.inverted() @ pose.bone.matrix_local


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_each_joint_of_a_posed_rig_is_where_it_was_put(blender: Any, skeleton: Skeleton) -> None:
    rig = build_rig(blender, skeleton)
    match = best_match(rig)
    assert (match.label, match.coverage, match.limbs_found, match.guessed) == (skeleton.family, 1, 12, False)
    assert Person(rig).enabled
    expected = {side + joint: landmark(spot, side) for joint, spot in SPOTS.items() for side in "RL"}
    raised, kicked = turned(-70, "Y"), turned(50, "X")
    right, left = skeleton.sides
    bend(rig, skeleton.names["forearm"].format(side=left), raised)
    bend(rig, skeleton.names["shin"].format(side=right), kicked)
    expected["LWrist"] = expected["LElbow"] + raised @ (expected["LWrist"] - expected["LElbow"])
    expected["RAnkle"] = expected["RKnee"] + kicked @ (expected["RAnkle"] - expected["RKnee"])
    expected["Neck"] = (expected["RShoulder"] + expected["LShoulder"]) / 2
    if "eye" in skeleton.names:
        expected |= {f"{side}Eye": landmark("eye", side) for side in "RL"}
    rig.location, rig.scale, rig.rotation_euler.z = (3, -2, 0.5), (0.9, 0.9, 0.9), np.radians(35)
    world = 0.9 * turned(35, "Z")
    found = found_joints(blender, rig)
    for name, place in expected.items():
        np.testing.assert_allclose(found[name], world @ place + (3, -2, 0.5), atol=1e-5, err_msg=name)
    assert found.keys() == set(KEYPOINT_NAMES)  # the rest of the face is estimated


@pytest.mark.parametrize("lowered", [-45, 0, 60], ids=["Y pose", "T pose", "A pose"])
@pytest.mark.parametrize("tilt", [0, 90, 180], ids=["standing", "lying", "upside down"])
def test_a_person_is_one_in_any_rest_pose_of_a_person(blender: Any, lowered: float, tilt: float) -> None:
    rig = build_rig(blender, SKELETONS["mixamo"], turned(tilt, "X"))
    blender.ops.object.mode_set(mode="EDIT")
    for side, angle in (("Right", -lowered), ("Left", lowered)):
        arm = rig.data.edit_bones[f"mixamorig:{side}Arm"]
        shoulder, turn = np.array(arm.head), turned(tilt, "X") @ turned(angle, "Y") @ turned(tilt, "X").T
        for bone in (arm, *arm.children_recursive):
            bone.head, bone.tail = (shoulder + turn @ (np.array(end) - shoulder) for end in (bone.head, bone.tail))
    blender.ops.object.mode_set(mode="OBJECT")
    assert best_match(rig).label == "Mixamo" and Person(rig).enabled


@pytest.mark.parametrize("family", load_families(), ids=lambda family: family.source.split(",")[0])
def test_each_table_is_complete_and_says_its_source(family: Family) -> None:
    names = [name.format(side=side) for one in family.bones.values() for name in one[:1] for side in family.sides]
    if match_family(family, names)[0].coverage < 1:  # a prefix that must be there
        names = [f"Bip001 {name}" for name in names]
    match, _ = match_family(family, names)
    assert set(REQUIRED) <= match.anchors.keys()
    assert len(family.source) > 10
    assert family.label in {skeleton.family for skeleton in SKELETONS.values()}


def test_rigify_is_read_from_deform_bones_among_its_controls() -> None:
    names = {name.format(side=side) for name in SKELETONS["rigify"].names.values() for side in "RL"}
    controls = ("upper_arm_fk.L", "hand_ik.L", "ORG-hand.L", "DEF-upper_arm.L.001", "hand.L", "foot.L", "head")
    match = match_names((*controls, *sorted(names)))
    assert match.label == "Rigify"
    assert match.anchors["LShoulder"].bone == "DEF-upper_arm.L"
    assert match.anchors["LWrist"].bone == "DEF-hand.L"


def test_coverage_counts_the_joints_found_and_a_poor_one_is_refused(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    right = [bone for bone in rig.data.bones if bone.name.endswith("_r")]
    for number, bone in enumerate(right):
        bone.name, bone.use_deform = f"bone{number}", False
    match = best_match(rig)
    assert (match.label, match.coverage, match.limbs_found) == ("Unreal", pytest.approx(7 / 13), 6)
    assert Person(rig).enabled
    rig.data.bones["foot_l"].name = "paw"
    for bone in right:
        bone.use_deform = True
    match = best_match(rig)
    assert (match.guessed, match.limbs_found) == (True, 12)  # the names are gone, the shape is still a person's
    for bone in right:
        bone.use_deform = False
    with pytest.raises(
        ExportError, match=rf"'Rig' match no rig family \({len(load_families())} tried; the best, Unreal, covers 46%\)"
    ):
        detect(rig)


def test_letter_case_does_not_matter() -> None:
    names = [name.format(side="l").upper() for name in SKELETONS["unreal"].names.values()]
    assert match_names(tuple(names)).limbs_found == 6
