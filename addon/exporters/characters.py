"""The people of a scene as the request has them: joints through the camera, and the prompts that the artist wrote."""

import bpy

from ...protocol import Character, Keypoint
from .face import gather_facial_bones
from .feet import gather_feet
from .joints import gather_hand, gather_joints
from .people import Person
from .rigs import detect
from .view import View


def gather_character(person: Person, depsgraph: bpy.types.Depsgraph, view: View) -> Character:
    """`person` in the picture. Raises ExportError where it is no rig that a family knows."""
    rig = person.pose(depsgraph, detect(person.armature))
    right, left = (gather_hand(rig, side) for side in "RL")
    face, feet = gather_facial_bones(rig), gather_feet(rig)
    return Character(
        id=person.id,
        name=person.name[:128],
        prompt=person.prompt,
        negative_prompt=person.negative_prompt,
        part_prompts=person.part_prompts,
        loras=person.loras,
        seed=person.seed,
        keypoints=view.see(gather_joints(rig)),
        right_hand=None if right is None else view.see(right),
        left_hand=None if left is None else view.see(left),
        face=None if face is None else view.see(face),
        feet=None if feet is None else view.see(feet),
    )


def gather_keypoints(person: Person, depsgraph: bpy.types.Depsgraph, view: View) -> tuple[Keypoint, ...]:
    """Those of gather_character, of any rig: cheap enough for a redraw."""
    return view.see(gather_joints(person.pose(depsgraph, person.match)))
