"""The people of a scene as the request has them: joints through the camera, and the prompts that the artist wrote."""

from collections.abc import Callable, Sequence

import bpy
import numpy as np

from ...protocol import Camera, Character, Keypoint
from .camera import near_metres, project
from .face import gather_facial_bones
from .feet import gather_feet
from .joints import gather_hand, gather_joints
from .people import Person
from .rigs import best_match, detect

See = Callable[[Sequence[np.ndarray | None]], tuple[Keypoint, ...]]  # (3,) Blender units of the world


def gather_characters(
    people: Sequence[Person],
    scene: bpy.types.Scene,
    depsgraph: bpy.types.Depsgraph,
    camera: Camera,
    width: int,
    height: int,
) -> tuple[Character, ...]:
    """One character for each of `people`. Raises ExportError where one is no rig that a family knows."""
    see = seen_through(camera, scene, depsgraph, width, height)
    return tuple(gather_character(one, depsgraph, see) for one in people)


def gather_character(person: Person, depsgraph: bpy.types.Depsgraph, see: See) -> Character:
    match = detect(person.armature)
    rig = person.armature.evaluated_get(depsgraph), person.world(depsgraph), match, person.is_mirrored(depsgraph)
    right, left = (gather_hand(*rig, side) for side in "RL")
    face, feet = gather_facial_bones(*rig), gather_feet(*rig)
    return Character(
        id=person.id,
        name=person.name[:128],
        prompt=person.prompt,
        negative_prompt=person.negative_prompt,
        part_prompts=person.part_prompts,
        loras=person.loras,
        keypoints=see(gather_joints(*rig)),
        right_hand=None if right is None else see(right),
        left_hand=None if left is None else see(left),
        face=None if face is None else see(face),
        feet=None if feet is None else see(feet),
    )


def gather_keypoints(person: Person, depsgraph: bpy.types.Depsgraph, see: See) -> tuple[Keypoint, ...]:
    """Those of gather_character, of any rig: cheap enough for a redraw."""
    armature, match = person.armature.evaluated_get(depsgraph), best_match(person.armature)
    return see(gather_joints(armature, person.world(depsgraph), match, person.is_mirrored(depsgraph)))


def seen_through(camera: Camera, scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, width: int, height: int) -> See:
    """What turns places in the world into points of a picture of width x height px; a place that is None is missing."""
    metres, near = scene.unit_settings.scale_length, near_metres(scene, depsgraph)

    def see(places: Sequence[np.ndarray | None]) -> tuple[Keypoint, ...]:
        return tuple(project(camera, None if place is None else place * metres, width, height, near) for place in places)

    return see
