"""Rigs of every family, built in bpy: bone names from the family's source, joints where LANDMARKS has them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# Metres; a person of 1.7 m who faces -Y, so that the left is at +X. Those after "collar" are of the left side.
LANDMARKS = {
    "ground": (0.0, 0.0, 0.0),
    "pelvis": (0.0, 0.0, 0.92),
    "waist": (0.0, 0.01, 1.08),
    "chest": (0.0, 0.02, 1.24),
    "neck": (0.0, 0.02, 1.42),
    "head": (0.0, 0.0, 1.48),
    "crown": (0.0, 0.0, 1.70),
    "collar": (0.02, 0.0, 1.39),
    "shoulder": (0.19, 0.02, 1.39),
    "elbow": (0.45, 0.03, 1.26),
    "wrist": (0.66, -0.01, 1.13),
    "knuckle": (0.73, -0.03, 1.09),
    "fingertip": (0.80, -0.04, 1.04),
    "thumb": (0.70, -0.06, 1.08),
    "hip": (0.09, 0.0, 0.90),
    "knee": (0.10, -0.01, 0.49),
    "ankle": (0.10, 0.02, 0.08),
    "ball": (0.11, -0.10, 0.02),
    "toe": (0.11, -0.17, 0.02),
    "eye": (0.032, -0.08, 1.59),
    "gaze": (0.032, -0.10, 1.59),
}
CENTRAL = ("ground", "pelvis", "waist", "chest", "neck", "head", "crown")
FINGERS = ("index", "middle", "ring")  # at one place: what counts is that there are several

# part: (the part it hangs from, where it begins, where it ends); "2" is the second half of a limb that twists in two bones.
PARTS = {
    "root": (None, "ground", "pelvis"),
    "hips": ("root", "pelvis", "waist"),
    "spine": ("hips", "waist", "chest"),
    "chest": ("spine", "chest", "neck"),
    "neck": ("chest", "neck", "head"),
    "head": ("neck", "head", "crown"),
    "eye": ("head", "eye", "gaze"),
    "collar": ("chest", "collar", "shoulder"),
    "upper_arm": ("collar", "shoulder", "elbow"),
    "upper_arm2": ("upper_arm", "shoulder+elbow", "elbow"),
    "forearm": ("upper_arm2", "elbow", "wrist"),
    "forearm2": ("forearm", "elbow+wrist", "wrist"),
    "hand": ("forearm2", "wrist", "knuckle"),
    "thumb": ("hand", "wrist", "thumb"),
    **dict.fromkeys(FINGERS, ("hand", "knuckle", "fingertip")),
    "hip_joint": ("hips", "pelvis", "hip"),
    "thigh": ("hip_joint", "hip", "knee"),
    "thigh2": ("thigh", "hip+knee", "knee"),
    "shin": ("thigh2", "knee", "ankle"),
    "shin2": ("shin", "knee+ankle", "ankle"),
    "foot": ("shin2", "ankle", "ball"),
    "toe": ("foot", "ball", "toe"),
}


class Skeleton(NamedTuple):
    """A rig of `family`: bone names by part, with "{side}" for one of `sides`, the right one first."""

    family: str
    sides: tuple[str, str]
    names: Mapping[str, str]


def name_parts(family: str, sides: str, **names: str) -> Skeleton:
    right, left = sides.split()
    return Skeleton(family, (right, left), names)


def with_prefix(prefix: str, skeleton: Skeleton) -> Skeleton:
    return skeleton._replace(names={part: prefix + name for part, name in skeleton.names.items()})


HUMAN_IK = {
    "hips": "Hips", "spine": "Spine", "chest": "Spine1", "neck": "Neck", "head": "Head", "collar": "{side}Shoulder",
    "upper_arm": "{side}Arm", "forearm": "{side}ForeArm", "hand": "{side}Hand", "thigh": "{side}UpLeg", "shin": "{side}Leg",
    "foot": "{side}Foot", "toe": "{side}ToeBase",
}  # fmt: skip
GAME = {
    "root": "root", "hips": "pelvis", "head": "head", "collar": "clavicle_{side}", "upper_arm": "upperarm_{side}",
    "forearm": "lowerarm_{side}", "hand": "hand_{side}", "thigh": "thigh_{side}", "shin": "calf_{side}", "foot": "foot_{side}",
}  # fmt: skip
RIGIFY = {
    "hips": "spine", "spine": "spine.001", "chest": "spine.003", "neck": "spine.004", "head": "spine.006",
    "collar": "shoulder.{side}", "upper_arm": "upper_arm.{side}", "forearm": "forearm.{side}", "hand": "hand.{side}",
    "index": "f_index.01.{side}", "middle": "f_middle.01.{side}", "thumb": "thumb.01.{side}", "thigh": "thigh.{side}",
    "shin": "shin.{side}", "foot": "foot.{side}", "toe": "toe.{side}",
}  # fmt: skip
DAZ = {
    "hips": "hip", "spine": "abdomen", "chest": "chest", "neck": "neck", "head": "head", "eye": "{side}Eye",
    "collar": "{side}Collar", "hand": "{side}Hand", "thumb": "{side}Thumb1", "shin": "{side}Shin", "foot": "{side}Foot",
    "toe": "{side}Toe",
}  # fmt: skip
REALLUSION = {
    "hips": "Hip", "spine": "Waist", "chest": "Spine02", "neck": "NeckTwist01", "head": "Head", "eye": "{side}_Eye",
    "collar": "{side}_Clavicle", "upper_arm": "{side}_Upperarm", "forearm": "{side}_Forearm", "hand": "{side}_Hand",
    "thigh": "{side}_Thigh", "shin": "{side}_Calf", "foot": "{side}_Foot", "toe": "{side}_ToeBase",
}  # fmt: skip
BIPED = {
    "hips": "Pelvis", "spine": "Spine", "chest": "Spine1", "neck": "Neck", "head": "Head", "collar": "{side} Clavicle",
    "upper_arm": "{side} UpperArm", "forearm": "{side} Forearm", "hand": "{side} Hand", "thumb": "{side} Finger0",
    "index": "{side} Finger1", "thigh": "{side} Thigh", "shin": "{side} Calf", "foot": "{side} Foot", "toe": "{side} Toe0",
}  # fmt: skip
UNDERSCORED = {part: name.replace(" ", "_") for part, name in BIPED.items()}
VROID = {
    "hips": "Hips", "spine": "Spine", "chest": "Chest", "neck": "Neck", "head": "Head", "collar": "Shoulder",
    "upper_arm": "UpperArm", "forearm": "LowerArm", "hand": "Hand", "thumb": "Thumb1", "index": "Index1", "middle": "Middle1",
    "thigh": "UpperLeg", "shin": "LowerLeg", "foot": "Foot", "toe": "ToeBase",
}  # fmt: skip
MMD = {
    "root": "全ての親", "hips": "センター", "spine": "上半身", "chest": "上半身2", "neck": "首", "head": "頭",
    "collar": "肩", "upper_arm": "腕", "forearm": "ひじ", "hand": "手首", "thigh": "足", "shin": "ひざ", "foot": "足首",
    "toe": "つま先",
}  # fmt: skip


def sided(part: str) -> bool:
    return not {PARTS[part][1], PARTS[part][2]} <= set(CENTRAL)


SKELETONS = {
    "mixamo": with_prefix("mixamorig:", Skeleton("Mixamo", ("Right", "Left"), HUMAN_IK | {"thumb": "{side}HandThumb1"})),
    "mixamo numbered": with_prefix("mixamorig7:", Skeleton("Mixamo", ("Right", "Left"), HUMAN_IK)),
    "mixamo stripped": Skeleton("Mixamo", ("Right", "Left"), HUMAN_IK | {"chest": "Spine2", "spine": "Spine1"}),
    "ready player me": Skeleton("Mixamo", ("Right", "Left"), HUMAN_IK | {"chest": "Spine2", "eye": "{side}Eye"}),
    "cmu": Skeleton(
        "CMU", ("Right", "Left"), HUMAN_IK | {"spine": "LowerBack", "neck": "Neck1", "hip_joint": "{side[0]}HipJoint"}
    ),
    "unreal": Skeleton("Unreal", ("r", "l"), GAME | {"spine": "spine_01", "neck": "neck_01", "toe": "ball_{side}"}),
    "mb-lab": Skeleton("MB-Lab", ("R", "L"), GAME | {"spine": "spine01", "neck": "neck", "toe": "toes_{side}"}),
    "rigify": with_prefix(
        "DEF-", Skeleton("Rigify", ("R", "L"), RIGIFY | {"upper_arm2": "upper_arm.{side}.001", "shin2": "shin.{side}.001"})
    ),
    "rigify meta-rig": Skeleton("Rigify meta-rig", ("R", "L"), RIGIFY | {"eye": "eye.{side}"}),
    "basic": name_parts(
        "Basic rig", "R L", hips="hips", spine="spine", chest="chest", neck="neck", head="head", upper_arm="upper_arm.{side}",
        forearm="forearm.{side}", hand="hand.{side}", thigh="thigh.{side}", shin="shin.{side}", foot="foot.{side}",
        toe="toe.{side}",
    ),
    "makehuman": name_parts(
        "MakeHuman", "R L", root="root", hips="spine05", spine="spine03", chest="spine01", neck="neck01", head="head",
        eye="eye.{side}", collar="clavicle.{side}", upper_arm="upperarm01.{side}", upper_arm2="upperarm02.{side}",
        forearm="lowerarm01.{side}", forearm2="lowerarm02.{side}", hand="wrist.{side}", thumb="finger1-1.{side}",
        index="finger2-1.{side}", thigh="upperleg01.{side}", thigh2="upperleg02.{side}", shin="lowerleg01.{side}",
        shin2="lowerleg02.{side}", foot="foot.{side}",
    ),
    "auto-rig pro": name_parts(
        "Auto-Rig Pro", "r l", hips="root.x", spine="spine_01.x", chest="spine_02.x", neck="neck.x", head="head.x",
        collar="shoulder.{side}", upper_arm="c_arm_twist_offset.{side}", upper_arm2="arm_stretch.{side}",
        forearm="forearm_stretch.{side}", forearm2="forearm_twist.{side}", hand="hand.{side}", thumb="thumb1.{side}",
        thigh="thigh_twist.{side}", thigh2="thigh_stretch.{side}", shin="leg_stretch.{side}", shin2="leg_twist.{side}",
        foot="foot.{side}", toe="toes_01.{side}",
    ),
    "auto-rig pro without twist": name_parts(
        "Auto-Rig Pro", "r l", hips="root.x", spine="spine_01.x", neck="neck.x", head="head.x", collar="shoulder.{side}",
        upper_arm="arm_stretch.{side}", forearm="forearm_stretch.{side}", hand="hand.{side}", thigh="thigh_stretch.{side}",
        shin="leg_stretch.{side}", foot="foot.{side}", toe="toes_01.{side}",
    ),
    "daz genesis 2": Skeleton(
        "Daz Genesis", ("r", "l"), DAZ | {"upper_arm": "{side}Shldr", "forearm": "{side}ForeArm", "thigh": "{side}Thigh"}
    ),
    "daz genesis 8": Skeleton(
        "Daz Genesis", ("r", "l"),
        DAZ | {
            "neck": "neckLower", "upper_arm": "{side}ShldrBend", "upper_arm2": "{side}ShldrTwist",
            "forearm": "{side}ForearmBend", "forearm2": "{side}ForearmTwist", "thigh": "{side}ThighBend",
            "thigh2": "{side}ThighTwist",
        },
    ),
    "daz genesis 9": name_parts(
        "Daz Genesis", "r l", hips="hip", spine="spine1", chest="spine4", neck="neck1", head="head", collar="{side}_shoulder",
        upper_arm="{side}_upperarm", forearm="{side}_forearm", hand="{side}_hand", thumb="{side}_thumb1",
        index="{side}_index1", thigh="{side}_thigh", shin="{side}_shin", foot="{side}_foot", toe="{side}_toes",
    ),
    "character creator": with_prefix("CC_Base_", Skeleton("Character Creator", ("R", "L"), REALLUSION)),
    "iclone": Skeleton("Character Creator", ("R", "L"), REALLUSION),
    "vroid": Skeleton(
        "VRM", ("R", "L"),
        {part: f"J_Bip_{'{side}' if sided(part) else 'C'}_{name}" for part, name in VROID.items()}
        | {"eye": "J_Adj_{side}_FaceEye"},
    ),
    "vroid made symmetric": Skeleton(
        "VRM", ("R", "L"), {part: f"{name}_{{side}}" if sided(part) else name for part, name in VROID.items()}
    ),
    "vrm": name_parts(
        "VRM", "R L", root="root", hips="hips", spine="spine", chest="chest", neck="neck", head="head", eye="eye.{side}",
        collar="shoulder.{side}", upper_arm="upper_arm.{side}", forearm="lower_arm.{side}", hand="hand.{side}",
        thigh="upper_leg.{side}", shin="lower_leg.{side}", foot="foot.{side}", toe="toes.{side}",
    ),
    "mmd": Skeleton("MMD", ("右", "左"), {part: f"{{side}}{name}" if sided(part) else name for part, name in MMD.items()}),
    "mmd_tools": Skeleton("MMD", ("R", "L"), {part: f"{name}.{{side}}" if sided(part) else name for part, name in MMD.items()}),
    "mmd english": name_parts(
        "MMD", "R L", root="root", hips="center", spine="upper body", chest="upper body 2", neck="neck", head="head",
        collar="shoulder_{side}", upper_arm="arm_{side}", forearm="elbow_{side}", hand="wrist_{side}",
        thigh="leg_{side}", shin="knee_{side}", foot="ankle_{side}", toe="toe_{side}",
    ),
    "biped": with_prefix("Bip001 ", Skeleton("3ds Max Biped", ("R", "L"), BIPED)),
    "biped underscored": with_prefix("Bip01_", Skeleton("3ds Max Biped", ("R", "L"), UNDERSCORED)),
    "source engine": with_prefix("ValveBiped.Bip01_", Skeleton("3ds Max Biped", ("R", "L"), UNDERSCORED | {"head": "Head1"})),
    "rokoko": Skeleton("Left/Right", ("Right", "Left"), HUMAN_IK | {"thigh": "{side}Thigh", "shin": "{side}Shin"}),
    "unity": Skeleton(
        "Left/Right", ("Right", "Left"),
        HUMAN_IK | {
            "upper_arm": "{side}UpperArm", "forearm": "{side}LowerArm", "thigh": "{side}UpperLeg", "shin": "{side}LowerLeg",
        },
    ),
    "cats": name_parts(
        "Left/Right", "Right Left", hips="Hips", spine="Spine", chest="Chest", neck="Neck", head="Head",
        collar="{side} shoulder", upper_arm="{side} arm", forearm="{side} elbow", hand="{side} wrist", thigh="{side} leg",
        shin="{side} knee", foot="{side} ankle", toe="{side} toe",
    ),
    "bvh": name_parts(
        "Left/Right", "Right Left", hips="Hips", chest="Chest", neck="Neck", head="Head", collar="{side}Collar",
        upper_arm="{side}Shoulder", forearm="{side}Elbow", hand="{side}Wrist", thigh="{side}Hip", shin="{side}Knee",
        foot="{side}Ankle", toe="{side}Toe",
    ),
}  # fmt: skip


def landmark(name: str, side: str = "L") -> np.ndarray:
    """Where a landmark is, (3,) metres; "a+b" lies between a and b."""
    places = [LANDMARKS[part] for part in name.split("+")]
    return np.mean(places, axis=0) * ((-1, 1, 1) if side == "R" and name not in CENTRAL else (1, 1, 1))


def build_rig(bpy: Any, skeleton: Skeleton, turn: np.ndarray | None = None) -> Any:
    """An armature object with the bones of `skeleton`; `turn` (3, 3) turns the bones inside the armature."""
    turn = np.eye(3) if turn is None else turn
    rig = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for part, (_, start, end) in PARTS.items():
        if part not in skeleton.names:
            continue
        for letter, side in zip("RL", skeleton.sides, strict=True):
            name = skeleton.names[part].format(side=side)
            if name in rig.data.edit_bones:
                continue
            bone = rig.data.edit_bones.new(name)
            bone.head, bone.tail = turn @ landmark(start, letter), turn @ landmark(end, letter)
            above = PARTS[part][0]
            while above and above not in skeleton.names:
                above = PARTS[above][0]
            if above:
                bone.parent = rig.data.edit_bones[skeleton.names[above].format(side=side)]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig
