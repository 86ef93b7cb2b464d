"""The people of a scene: its visible armatures, with the prompts that the artist wrote for them."""

from collections.abc import Sequence

import bpy

from ...protocol import Camera, Character
from .camera import near_metres, project
from .errors import ExportError
from .joints import gather_joints
from .rigs import detect


def find_armatures(view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """Every armature that the view layer shows, switched on or not, by name."""
    armatures = [o for o in view_layer.objects if o.type == "ARMATURE" and o.visible_get(view_layer=view_layer)]
    return sorted(armatures, key=lambda armature: armature.name_full)


def chosen_armatures(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """The armatures that are switched on, by name. Raises ExportError where there is none."""
    armatures = [one for one in find_armatures(view_layer) if one.beyondscene.enabled]
    if not armatures:
        raise ExportError(
            f"The scene '{scene.name}' shows no armature that is switched on, and each person comes from one: "
            "add a rig, unhide it, or tick it in the list of characters."
        )
    return armatures


def gather_characters(
    armatures: Sequence[bpy.types.Object],
    scene: bpy.types.Scene,
    depsgraph: bpy.types.Depsgraph,
    camera: Camera,
    width: int,
    height: int,
) -> tuple[Character, ...]:
    """One character for each of `armatures`. Raises ExportError where one is no rig that a family knows."""
    return tuple(gather_character(one, scene, depsgraph, camera, width, height) for one in armatures)


def gather_character(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    depsgraph: bpy.types.Depsgraph,
    camera: Camera,
    width: int,
    height: int,
) -> Character:
    match = detect(armature)
    metres = scene.unit_settings.scale_length  # per Blender unit
    near = near_metres(scene, depsgraph)
    places = gather_joints(armature.evaluated_get(depsgraph), match)
    return Character(
        id=armature.name_full[:128],  # with the library's name, so unique where a linked rig has a local namesake
        name=armature.name,
        prompt=armature.beyondscene.prompt,
        negative_prompt=armature.beyondscene.negative_prompt,
        keypoints=tuple(project(camera, None if place is None else place * metres, width, height, near) for place in places),
    )
