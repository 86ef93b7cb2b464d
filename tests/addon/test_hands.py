"""Hands: which bone is which joint, and where they are in the request."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import best_match, export_request, load_families
from beyondscene.addon.exporters.joints import PosedRig, gather_hand
from beyondscene.addon.exporters.rigs import Anchor, match_names
from beyondscene.protocol import HAND_NAMES, KEYPOINT_NAMES

from .skeletons import SKELETONS, build_rig

Example = Callable[[str], dict[str, Any]]

# Thumb and index of the right hand, from the palm outwards, as the sources of the families have them.
NAMES = {
    "mixamo": "mixamorig:RightHandThumb1 mixamorig:RightHandThumb2 mixamorig:RightHandThumb3 "
    "mixamorig:RightHandIndex1 mixamorig:RightHandIndex2 mixamorig:RightHandIndex3",
    "unreal": "thumb_01_r thumb_02_r thumb_03_r index_01_r index_02_r index_03_r",
    "mb-lab": "thumb01_R thumb02_R thumb03_R index01_R index02_R index03_R",
    "rigify": "DEF-thumb.01.R DEF-thumb.02.R DEF-thumb.03.R DEF-f_index.01.R DEF-f_index.02.R DEF-f_index.03.R",
    "rigify meta-rig": "thumb.01.R thumb.02.R thumb.03.R f_index.01.R f_index.02.R f_index.03.R",
    "makehuman": "finger1-1.R finger1-2.R finger1-3.R finger2-1.R finger2-2.R finger2-3.R",
    "auto-rig pro": "thumb1.r thumb2.r thumb3.r index1.r index2.r index3.r",
    "daz genesis 8": "rThumb1 rThumb2 rThumb3 rIndex1 rIndex2 rIndex3",
    "daz genesis 9": "r_thumb1 r_thumb2 r_thumb3 r_index1 r_index2 r_index3",
    "character creator": "CC_Base_R_Thumb1 CC_Base_R_Thumb2 CC_Base_R_Thumb3 "
    "CC_Base_R_Index1 CC_Base_R_Index2 CC_Base_R_Index3",
    "iclone": "R_Finger00 R_Finger01 R_Finger02 R_Finger10 R_Finger11 R_Finger12",
    "vroid": "J_Bip_R_Thumb1 J_Bip_R_Thumb2 J_Bip_R_Thumb3 J_Bip_R_Index1 J_Bip_R_Index2 J_Bip_R_Index3",
    "vroid made symmetric": "Thumb1_R Thumb2_R Thumb3_R Index1_R Index2_R Index3_R",
    "vrm": "thumb_metacarpal.R thumb_proximal.R thumb_distal.R index_proximal.R index_intermediate.R index_distal.R",
    "mmd": "右親指０ 右親指１ 右親指２ 右人指１ 右人指２ 右人指３",
    "mmd_tools": "親指０.R 親指１.R 親指２.R 人指１.R 人指２.R 人指３.R",
    "source engine": "ValveBiped.Bip01_R_Finger0 ValveBiped.Bip01_R_Finger01 ValveBiped.Bip01_R_Finger02 "
    "ValveBiped.Bip01_R_Finger1 ValveBiped.Bip01_R_Finger11 ValveBiped.Bip01_R_Finger12",
    "unity": "RightThumbProximal RightThumbIntermediate RightThumbDistal "
    "RightIndexProximal RightIndexIntermediate RightIndexDistal",
}


@pytest.mark.parametrize("name", NAMES)
def test_finger_bones_of_each_family_are_found(name: str) -> None:
    skeleton, fingers = SKELETONS[name], NAMES[name].split()
    body = {part.format(side=side) for part in skeleton.names.values() for side in skeleton.sides}
    match = match_names(tuple({*body, *fingers}))
    assert match.label == skeleton.family
    roles = [f"R{finger}{joint}" for finger in ("Thumb", "Index") for joint in (1, 2, 3)]
    assert [match.fingers[role] for role in roles] == [Anchor(bone) for bone in fingers]
    assert match.fingers["RThumb4"] == Anchor(fingers[2], "tail") and match.fingers["RIndex4"] == Anchor(fingers[5], "tail")
    assert len(match.fingers) == 8
    assert match_names(tuple({*body, *fingers[:2]})).fingers == {}


def test_no_family_with_hands_is_left_out() -> None:
    assert {family.label for family in load_families() if family.fingers} == {SKELETONS[name].family for name in NAMES}


def test_biped_counts_the_first_bone_of_a_finger_as_none() -> None:
    bones = [f"Bip001 R Finger{finger}{joint}" for finger in "01234" for joint in ("", "1", "2")]
    body = [part.format(side=side) for part in SKELETONS["biped"].names.values() for side in "RL"]
    match = match_names((*body, *bones))
    assert [match.fingers[f"R{name}"].bone for name in HAND_NAMES[1:] if name[-1] != "4"] == bones


def test_a_bone_at_the_tip_says_where_it_is() -> None:
    bones = tuple(f"mixamorig:LeftHandRing{joint}" for joint in (1, 2, 3, 4))
    match = match_names((*(part.format(side="Left") for part in SKELETONS["mixamo"].names.values()), *bones))
    assert [match.fingers[f"LRing{joint}"] for joint in (1, 2, 3, 4)] == [Anchor(bone) for bone in bones]


def test_hands_are_exported_where_blender_has_the_fingers(blender: Any, example: Example) -> None:
    from bpy_extras.object_utils import world_to_camera_view

    example("plaza")
    scene = blender.context.scene
    request, _ = export_request(blender.context)
    for character in request.characters:
        rig = blender.data.objects[character.name]
        for side, hand in (("R", character.right_hand), ("L", character.left_hand)):
            assert hand, (character.name, side)
            wrist = character.keypoints[KEYPOINT_NAMES.index(f"{side}Wrist")]
            assert (hand[0].x, hand[0].y, hand[0].depth) == (wrist.x, wrist.y, wrist.depth)
            places = []
            for name, joint in zip(HAND_NAMES[1:], hand[1:], strict=True):
                at = best_match(rig).fingers[side + name]
                place = rig.matrix_world @ getattr(rig.pose.bones[at.bone], at.end)
                u, v, depth = world_to_camera_view(scene, scene.camera, place)
                assert (joint.x, joint.y, joint.depth) == pytest.approx((u * 1536, (1 - v) * 1024, depth), abs=0.05)
                assert joint.state in ("visible", "occluded")
                places.append(np.array(place))
            segments = np.linalg.norm(np.diff(np.reshape(places, (5, 4, 3)), axis=1), axis=-1)
            assert segments.min() > 0.012 and segments.max() < 0.07  # metres: phalanges of an adult


def test_a_rig_without_fingers_has_no_hands(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    evaluated = rig.evaluated_get(blender.context.evaluated_depsgraph_get())
    assert gather_hand(PosedRig(evaluated, np.eye(4), best_match(rig), mirrored=False), "R") is None
