"""VRM models of any bone names: the humanoid that the VRM Add-on for Blender keeps on the armature is believed."""

# pyright: reportInvalidTypeForm=false

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("bpy")

import bpy
from beyondscene.addon.exporters import best_match
from beyondscene.addon.exporters.rigs import Anchor
from bpy.props import CollectionProperty, PointerProperty, StringProperty

from .skeletons import SKELETONS, Skeleton, build_rig

NAMES = {  # of VRM 1.0, by part of a skeleton
    "head": "head", "eye": "{side}_eye", "upper_arm": "{side}_upper_arm", "forearm": "{side}_lower_arm", "hand": "{side}_hand",
    "thigh": "{side}_upper_leg", "shin": "{side}_lower_leg", "foot": "{side}_foot", "toe": "{side}_toes",
}  # fmt: skip
SEGMENTS = [f"{side}_index_{part}" for side in ("left", "right") for part in ("proximal", "intermediate", "distal")]


class Node(bpy.types.PropertyGroup):
    bone_name: StringProperty()


class Bone(bpy.types.PropertyGroup):
    bone: StringProperty()
    node: PointerProperty(type=Node)


class Bones(bpy.types.PropertyGroup):
    __annotations__ = {
        name: PointerProperty(type=Bone)
        for name in (*(name.format(side=side) for name in NAMES.values() for side in ("left", "right")), *SEGMENTS)
    }


class Humanoid0(bpy.types.PropertyGroup):
    human_bones: CollectionProperty(type=Bone)


class Humanoid1(bpy.types.PropertyGroup):
    human_bones: PointerProperty(type=Bones)


class Vrm0(bpy.types.PropertyGroup):
    humanoid: PointerProperty(type=Humanoid0)


class Vrm1(bpy.types.PropertyGroup):
    humanoid: PointerProperty(type=Humanoid1)


class Extension(bpy.types.PropertyGroup):
    vrm0: PointerProperty(type=Vrm0)
    vrm1: PointerProperty(type=Vrm1)


CLASSES = (Node, Bone, Bones, Humanoid0, Humanoid1, Vrm0, Vrm1, Extension)


@pytest.fixture
def rig(blender: Any) -> Iterator[Any]:
    """Bones that say nothing, on an armature as the VRM Add-on for Blender extends it."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Armature.vrm_addon_extension = PointerProperty(type=Extension)
    parts = (*NAMES, "hips", "spine", "index", "middle", "ring")
    names = {
        part: f"bone {number}" + (" {side}" if part not in ("head", "hips", "spine") else "")
        for number, part in enumerate(parts)
    }
    yield build_rig(blender, Skeleton("none", ("right", "left"), names)), names
    del bpy.types.Armature.vrm_addon_extension
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)


def pairs(names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Name of VRM 1.0 and the bone."""
    for part, name in NAMES.items():
        for side in ("left", "right"):
            yield name.format(side=side), names[part].format(side=side)


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


@pytest.mark.parametrize("version", [0, 1])
def test_the_humanoid_is_believed(rig: Any, version: int) -> None:
    armature, names = rig
    assert best_match(armature).guessed
    extension = armature.data.vrm_addon_extension
    parts = zip(SEGMENTS, ("index", "middle", "ring") * 2, strict=True)
    fingers = {name: names[part].format(side=name.partition("_")[0]) for name, part in parts}
    for name, bone in {**dict(pairs(names)), **fingers}.items():
        if version:
            getattr(extension.vrm1.humanoid.human_bones, name).node.bone_name = bone
        else:
            one = extension.vrm0.humanoid.human_bones.add()
            one.bone, one.node.bone_name = camel(name), bone
    match = best_match(armature)
    assert (match.label, match.coverage, match.guessed) == ("VRM humanoid", 1, False)
    assert match.anchors["RElbow"] == Anchor(names["forearm"].format(side="right"))
    assert match.anchors["LToe"] == Anchor(names["toe"].format(side="left"))
    assert match.fingers["LIndex2"] == Anchor(names["middle"].format(side="left"))
    assert match.fingers["LIndex4"] == Anchor(names["ring"].format(side="left"), "tail")


def test_an_empty_humanoid_leaves_it_to_the_names(rig: Any, blender: Any) -> None:
    other = build_rig(blender, SKELETONS["mixamo"])
    other.data.vrm_addon_extension.vrm1.humanoid.human_bones.head.node.bone_name = "mixamorig:Head"
    assert best_match(other).label == "Mixamo" and best_match(other).coverage == 1
