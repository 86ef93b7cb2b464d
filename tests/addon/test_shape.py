"""Joints of rigs whose names say nothing."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import best_match
from beyondscene.addon.exporters.rigs import gather_rest_bones
from beyondscene.addon.exporters.rigs.family import LIMBS
from beyondscene.addon.exporters.rigs.shape import LABEL

from .skeletons import PARTS, SKELETONS, Skeleton, build_rig, landmark, sided

NAMELESS = {part: f"b{number}{'{side}' if sided(part) else ''}" for number, part in enumerate(PARTS) if not part.endswith("2")}
SPOTS = {"Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist", "Hip": "hip", "Knee": "knee", "Ankle": "ankle"}
ABOUT_X = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # z up becomes y up, as in rigs that came by FBX
ABOUT_Z = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])


def without(*parts: str) -> Skeleton:
    return Skeleton("", ("x", "y"), {part: name for part, name in NAMELESS.items() if part not in parts})


@pytest.mark.parametrize("turn", [np.eye(3), ABOUT_X, ABOUT_Z, -ABOUT_Z @ np.diag([1, 1, -1])], ids=["z", "y", "x", "-x"])
@pytest.mark.parametrize(
    "skeleton",
    [without(), without("collar", "eye"), without("index", "middle", "ring", "thumb"), without("root", "neck", "hip_joint")],
    ids=["whole", "no collar bones", "no fingers", "no neck"],
)
def test_a_person_is_recognised_whichever_way_the_rig_is_turned(blender: Any, skeleton: Skeleton, turn: np.ndarray) -> None:
    rig = build_rig(blender, skeleton, turn)
    match = best_match(rig)
    assert (match.label, match.guessed, match.limbs_found) == (LABEL, True, 12)
    for joint, spot in SPOTS.items():
        for side in "RL":
            at = match.anchors[side + joint]
            place = getattr(rig.data.bones[at.bone], f"{at.end}_local")
            np.testing.assert_allclose(place, turn @ landmark(spot, side), atol=1e-5, err_msg=side + joint)
    assert match.anchors["Head"].bone == skeleton.names["head"].format(side="x")


@pytest.mark.parametrize("name", ["auto-rig pro", "makehuman", "daz genesis 8", "mixamo", "rigify"])
def test_the_shape_says_the_same_as_the_names(blender: Any, name: str) -> None:
    rig = build_rig(blender, SKELETONS[name])
    by_name = best_match(rig)
    numbers = {bone.name: f"b{number}" for number, bone in enumerate(rig.data.bones)}
    for bone in rig.data.bones:
        bone.name = numbers[bone.name]
    by_shape = best_match(rig)
    assert by_shape.guessed
    assert {role: at.bone for role, at in by_shape.anchors.items()} == {
        role: numbers[by_name.anchors[role].bone] for role in (*LIMBS, "Head")
    }


def test_joints_whose_bones_a_family_lacks_come_from_the_shape_where_both_agree_about_the_others(blender: Any) -> None:
    names = dict(SKELETONS["daz genesis 2"].names)
    ipi = names | {"collar": "{side}Clavicle", "upper_arm": "{side}Shoulder"}  # iPi Motion Capture's own skeleton
    rig = build_rig(blender, Skeleton("", ("R", "L"), ipi))
    match = best_match(rig)
    assert (match.label, match.guessed, match.limbs_found) == ("Daz Genesis, by shape", True, 12)
    assert match.anchors["LShoulder"].bone == "LShoulder" and "LEye" in match.anchors
    rig.data.bones["LForeArm"].name, rig.data.bones["LClavicle"].name = "Elbow", "LForeArm"
    match = best_match(rig)
    assert (match.label, match.guessed, match.limbs_found) == ("Daz Genesis", False, 10)


def test_bones_that_move_nothing_do_not_confuse(blender: Any) -> None:
    rig = build_rig(blender, without())
    blender.ops.object.mode_set(mode="EDIT")
    for number, spot in enumerate(((0.1, 0.2, 0.1), (-0.1, 0.2, 0.1), (0.3, -0.6, 0.5), (-0.3, -0.6, 0.5))):
        control = rig.data.edit_bones.new(f"control{number}")
        control.head, control.tail, control.use_deform = spot, (spot[0], spot[1] + 0.2, 0), False
    blender.ops.object.mode_set(mode="OBJECT")
    assert best_match(rig).guessed


@pytest.mark.parametrize("missing", ["foot and toe", "head", "arms"])
def test_what_is_not_plainly_a_person_gets_no_guess(blender: Any, missing: str) -> None:
    parts = {
        "foot and toe": ("foot", "toe"),  # where is the front?
        "head": ("head", "eye"),
        "arms": ("upper_arm", "forearm", "hand", "thumb", "index", "middle", "ring"),
    }
    assert not best_match(build_rig(blender, without(*parts[missing]))).guessed


def test_a_quadruped_gets_no_guess(blender: Any) -> None:
    rig = build_rig(blender, without("thumb", "index", "middle", "ring"))
    blender.ops.object.mode_set(mode="EDIT")
    for side in "xy":  # the arms reach the ground
        for part, drop in (("forearm", 0.5), ("hand", 1.05)):
            bone = rig.data.edit_bones[NAMELESS[part].format(side=side)]
            bone.head.z, bone.tail.z = bone.head.z - drop, bone.head.z - drop - 0.05
    blender.ops.object.mode_set(mode="OBJECT")
    assert not best_match(rig).guessed


def test_bones_that_change_are_read_anew(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])

    def above(name: str) -> str | None:
        bones = gather_rest_bones(rig)
        parent = next(bone.parent for bone in bones if bone.name == name)
        return None if parent is None else bones[parent].name

    assert above("hand_l") == "lowerarm_l"
    rig.data.bones["lowerarm_l"].use_deform = False
    assert above("hand_l") == "upperarm_l"
    rig.data.bones["upperarm_l"].name = "arm"
    assert above("hand_l") == "arm"
    blender.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones["hand_l"].parent = rig.data.edit_bones["pelvis"]  # and stays where it is
    blender.ops.object.mode_set(mode="OBJECT")
    assert above("hand_l") == "pelvis"
    blender.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones["head"].tail.z += 0.1
    blender.ops.object.mode_set(mode="OBJECT")
    head = next(bone for bone in gather_rest_bones(rig) if bone.name == "head")
    assert head.tail == tuple(rig.data.bones["head"].tail_local)


def test_a_puppet_on_ropes_of_a_thousand_links_is_nobody(blender: Any) -> None:
    rig = blender.data.objects.new("Puppet", blender.data.armatures.new("Puppet"))
    blender.context.scene.collection.objects.link(rig)
    blender.context.view_layer.objects.active = rig
    blender.ops.object.mode_set(mode="EDIT")
    body = rig.data.edit_bones.new("body")
    body.tail = (0, 0, 1)
    for side in (-1, 1):
        above = body
        for number in range(1100):
            link = rig.data.edit_bones.new(f"link {side} {number}")
            link.head, link.tail, link.parent = (side, 0, number / 1100), (side, 0, (number + 1) / 1100), above
            above = link
    blender.ops.object.mode_set(mode="OBJECT")
    match = best_match(rig)
    assert not match.guessed and not match.limbs_found
