"""What the camera sees of whom: a mask for each character with a mesh, and which joints are hidden."""

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from msgspec.structs import replace

from ...protocol import KEYPOINT_NAMES, MASK_DIVISORS, Camera, Character, Keypoint, RenderRequest, describe_array
from .camera import gather_camera, near_metres
from .raster import ZBuffer
from .surfaces import gather_surfaces

SHORT_SIDE_PX = 1024  # that a mask keeps: people are placed in a base image that has no more
# How far under its own skin a joint may lie and still be seen, in lengths of the torso (neck to hips). On six posed
# MakeHuman bodies, each from 72 directions, depths thin out there: hips lie up to 0.4 deep, the joints of a limb 0.05 to
# 0.15, or 0.25 where it points at the camera; what is deeper is behind the head, the trunk or another limb.
FLESH = {"Nose": 0.1, "REye": 0.1, "LEye": 0.1, "REar": 0.1, "LEar": 0.1, "RHip": 0.4, "LHip": 0.4}
FLESH_OF_LIMBS = 0.3
TORSO_SHARE = 0.3  # of the greatest distance between two joints, where a rig has no neck or hips in sight


@dataclass(frozen=True)
class Sight:
    """The picture's surfaces, at a `divisor`-th of its size, row 0 at the top.

    owner: int32 (height, width), index of the character that is seen; -1 where it is a prop or nothing.
    depth: float32 (height, width), metres along the view axis; infinite where nothing is seen.
    normal: float32 (height, width, 3), of the face, in the camera's frame (x right, y down, z forward) and towards the
    camera; 0 where nothing is seen.
    embodied: the characters that have a mesh, seen or not.
    """

    divisor: int
    owner: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    embodied: frozenset[int]


def look(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    depsgraph: bpy.types.Depsgraph,
    armatures: Sequence[bpy.types.Object],
    width: int,
    height: int,
) -> Sight:
    """What `scene`'s camera sees in a picture of width x height px, multiples of 8; owners are indices into `armatures`."""
    divisor = max((one for one in MASK_DIVISORS if min(width, height) // one >= SHORT_SIDE_PX), default=1)
    width, height = width // divisor, height // divisor
    metres = scene.unit_settings.scale_length  # per Blender unit
    buffer = ZBuffer(gather_camera(scene, depsgraph, width, height), width, height, near_metres(scene, depsgraph))
    embodied: set[int] = set()
    for triangles, owner in gather_surfaces(view_layer, depsgraph, armatures):
        buffer.draw(triangles * metres, owner)
        embodied.add(owner)
    present = frozenset(range(len(armatures))) & embodied
    return Sight(divisor, buffer.owner, buffer.depth, buffer.normal, present)


def add_sight(request: RenderRequest, sight: Sight) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """`request` with its masks and hidden joints, and the masks by digest, uint8, 255 where the person is seen.

    Masks are disjoint. Somebody wholly hidden has one of zeros; somebody without a mesh has none.
    """
    assert request.camera is not None
    characters, arrays = [], {}
    for index, character in enumerate(request.characters):
        character = replace(character, keypoints=judge(character, index, request.camera, sight))
        if index in sight.embodied:
            mask = np.where(sight.owner == index, np.uint8(255), np.uint8(0))
            reference = describe_array(mask)
            arrays[reference.digest] = mask
            character = replace(character, mask=reference)
        characters.append(character)
    return replace(request, characters=tuple(characters)), arrays


def judge(character: Character, index: int, camera: Camera, sight: Sight) -> tuple[Keypoint, ...]:
    """The joints of `character`, those that a surface hides as `occluded`."""
    torso = torso_metres(character, camera)
    flesh = [torso * FLESH.get(name, FLESH_OF_LIMBS) for name in KEYPOINT_NAMES]
    return tuple(
        replace(joint, state="occluded") if joint.state == "visible" and is_hidden(joint, own, index, sight) else joint
        for joint, own in zip(character.keypoints, flesh, strict=True)
    )


def is_hidden(joint: Keypoint, flesh_m: float, index: int, sight: Sight) -> bool:
    """Whether most of the 3x3 px around `joint` show a surface in front of it; its own only beyond `flesh_m`.

    Where a character has no mesh of its own, whatever is as near to a joint as flesh would be may well be its body.
    """
    row, column = int(joint.y / sight.divisor), int(joint.x / sight.divisor)
    around = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
    others = (sight.owner[around] != index) & (index in sight.embodied)
    return bool((sight.depth[around] < joint.depth - np.where(others, 0, flesh_m)).mean() > 0.5)


def torso_metres(character: Character, camera: Camera) -> float:
    """From the neck to the middle of the hips."""
    places = {
        name: unproject(camera, joint)
        for name, joint in zip(KEYPOINT_NAMES, character.keypoints, strict=True)
        if joint.state not in ("behind", "missing")
    }
    if {"Neck", "RHip", "LHip"} <= places.keys():
        return float(np.linalg.norm(places["Neck"] - (places["RHip"] + places["LHip"]) / 2))
    points = np.array(list(places.values()))
    return TORSO_SHARE * float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())


def unproject(camera: Camera, joint: Keypoint) -> np.ndarray:
    """(3,) metres in the camera's frame."""
    scale = joint.depth if camera.projection == "perspective" else 1.0
    return np.array([(joint.x - camera.cx) / camera.fx * scale, (joint.y - camera.cy) / camera.fy * scale, joint.depth])
