"""What the camera sees of whom: a mask for each character with a mesh, and which joints are hidden."""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import bpy
import numpy as np
from msgspec.structs import replace

from ...protocol import (
    FACE_NAMES,
    FREE,
    HEAD_NAMES,
    HIDDEN,
    KEYPOINT_NAMES,
    SEEN,
    SHORT_SIDE_PX,
    Camera,
    Character,
    Hider,
    Keypoint,
    RenderRequest,
    describe_array,
)
from .camera import gather_view
from .face import follow, make_face_fitters, turned_away
from .joints import as_seen
from .people import Person
from .raster import ZBuffer, frame_planes
from .surfaces import PROP, gather_surfaces
from .view import MISSING, unproject

DIVISORS = (1, 2, 4, 8)  # of the picture's sides, which are multiples of 8
# How far under its own skin a joint may lie and still be seen, in lengths of the torso (neck to hips). On six posed
# MakeHuman bodies, each from 72 directions, depths thin out there: hips lie up to 0.4 deep, the joints of a limb 0.05 to
# 0.15, or 0.25 where it points at the camera; what is deeper is behind the head, the trunk or another limb.
FLESH = {"Nose": 0.1, "REye": 0.1, "LEye": 0.1, "REar": 0.1, "LEar": 0.1, "RHip": 0.4, "LHip": 0.4}
FLESH_OF_LIMBS = 0.3
FLESH_OF_HANDS = 0.1  # a palm is some 3 cm thick
FLESH_OF_FEET = 0.1
FLESH_OF_FACE = 0.04  # its points lie on the skin
TORSO_SHARE = 0.3  # of the greatest distance between two joints, where a rig has no neck or hips in sight
CELL_PX = 16  # of a mask: how finely depth spreads from a body to what is beside it


@dataclass(frozen=True)
class Sight:
    """The picture's surfaces, at a `divisor`-th of its size, row 0 at the top.

    Each pixel is one look through its centre, at any divisor: nothing is averaged, so nothing lies between two surfaces.

    depth: float32 (height, width), metres along the view axis; infinite where nothing is seen.
    owner: int32 (height, width), index of the character that is seen; -1 where it is a prop or nothing.
    bodies: depth of each character that has a mesh in the picture, as if it were alone, by its index.
    faces: the points of the face of each whose mesh has one, by its index, in the order of FACE_NAMES; in px of the picture.
    heads: nose, eyes and ears of the same as the mesh has them, by name; those that have no bone.
    chosen: points of a face that were chosen on a mesh, by its owner and their names.
    """

    divisor: int
    depth: np.ndarray
    owner: np.ndarray
    bodies: dict[int, np.ndarray]
    faces: dict[int, tuple[Keypoint, ...]]
    heads: dict[int, dict[str, Keypoint]]
    chosen: dict[int, dict[str, Keypoint]]


def look(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    depsgraph: bpy.types.Depsgraph,
    people: Sequence[Person],
    width: int,
    height: int,
    divisor: int | None = None,
    deadline_s: float = math.inf,
) -> Sight:
    """What `scene`'s camera sees in a picture of width x height px; owners are indices into `people`.

    divisor: of both sides; the protocol's own for this size, unless one is given for a quick look.
    deadline_s: as of time.monotonic. Raises TimeoutError where there are more surfaces than can be looked at until then.
    """
    if divisor is None:
        divisor = max((each for each in DIVISORS if min(width, height) // each >= SHORT_SIDE_PX), default=1)
    picture = gather_view(scene, depsgraph, width, height)
    view = gather_view(scene, depsgraph, width // divisor, height // divisor)
    metres, fitters = view.metres, make_face_fitters(people, depsgraph)
    chosen: dict[int, dict[str, Keypoint]] = defaultdict(dict)
    buffers: dict[int, ZBuffer] = defaultdict(partial(ZBuffer, view))
    planes = frame_planes(view) * (metres, metres, metres, 1)
    for surface in gather_surfaces(view_layer, depsgraph, people, planes=planes):
        if time.monotonic() > deadline_s:
            raise TimeoutError
        buffers[surface.owner].draw(surface.triangles * metres)
        if surface.owner in fitters:
            fitters[surface.owner].add(surface.triangles)
        if surface.chosen:
            names = as_seen(FACE_NAMES, surface.owner != PROP and people[surface.owner].is_mirrored(depsgraph))
            called = dict(zip(names, FACE_NAMES, strict=True))
            seen = picture.see([*surface.chosen.values()])
            chosen[surface.owner] |= dict(zip(map(called.__getitem__, surface.chosen), seen, strict=True))
    depth, owner_seen = buffers[PROP].depth, np.full((view.height, view.width), PROP, np.int32)
    depths = {owner: buffer.depth for owner, buffer in sorted(buffers.items()) if owner != PROP}
    # of a mesh without faces, or of a thing outside the picture alone, there is nothing that could be hidden
    bodies = {owner: body for owner, body in depths.items() if np.isfinite(body).any()}
    for owner, body in bodies.items():
        owner_seen[body < depth] = owner
        depth = np.minimum(depth, body)

    fitted = {owner: face for owner, fitter in fitters.items() if (face := fitter.fit())}
    faces = {owner: picture.see(face.points) for owner, face in fitted.items()}
    heads = {owner: dict(zip(face.joints, picture.see([*face.joints.values()]), strict=True)) for owner, face in fitted.items()}
    return Sight(divisor, depth, owner_seen, bodies, faces, heads, chosen)


def add_sight(request: RenderRequest, sight: Sight) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """`request` with its masks and hidden joints, and the masks by digest; see Character for what they say.

    Where a mask is SEEN, no other is. Somebody wholly hidden has one without SEEN; somebody without a mesh has none.
    """
    assert request.camera is not None
    characters, arrays = [], {}
    for index, character in enumerate(request.characters):
        torso_m = torso_metres(character, request.camera)
        flesh, head = [torso_m * FLESH.get(name, FLESH_OF_LIMBS) for name in KEYPOINT_NAMES], sight.heads.get(index, {})
        joints = [head.get(name, joint) for name, joint in zip(KEYPOINT_NAMES, character.keypoints, strict=True)]
        joints = tuple(joints) if index in sight.bodies else turn_away(joints)
        character = replace(
            character,
            keypoints=name_head(judge(joints, flesh, index, sight)),
            right_hand=character.right_hand and judge(character.right_hand, [torso_m * FLESH_OF_HANDS] * 21, index, sight),
            left_hand=character.left_hand and judge(character.left_hand, [torso_m * FLESH_OF_HANDS] * 21, index, sight),
            face=judge_face(character.face, torso_m, index, sight),
            feet=character.feet and judge(character.feet, [torso_m * FLESH_OF_FEET] * 6, index, sight),
        )
        if index in sight.bodies:
            mask = draw_mask(index, torso_m, sight)
            reference = describe_array(mask)
            arrays[reference.digest] = mask
            character = replace(character, mask=reference)
        characters.append(character)
    return replace(request, characters=tuple(characters)), arrays


def draw_mask(index: int, torso_m: float, sight: Sight) -> np.ndarray:
    """uint8 (height, width): SEEN where the mesh is, HIDDEN where something nearer is in the way, FREE elsewhere.

    In the way is whatever stands before the mesh and, beside the mesh, what stands before its nearest part by more than a
    limb's flesh.
    """
    body = sight.bodies[index]
    reach = np.where(np.isfinite(body), body, spread(body) - FLESH_OF_LIMBS * torso_m)
    mask = np.where(sight.depth < reach, np.uint8(HIDDEN), np.uint8(FREE))
    mask[sight.owner == index] = SEEN
    return mask


def spread(body: np.ndarray) -> np.ndarray:
    """float32 (height, width): the depth of that part of `body` which is nearest in the picture plane, to CELL_PX.

    Not of its nearest to the camera: a hand that is held out over a table does not bring the legs before it.
    """
    height, width = body.shape
    cells = np.pad(body, ((0, -height % CELL_PX), (0, -width % CELL_PX)), constant_values=np.inf)
    cells = cells.reshape(len(cells) // CELL_PX, CELL_PX, -1, CELL_PX).min((1, 3))
    while 0 < np.isfinite(cells).sum() < cells.size:
        around = np.pad(cells, 1, constant_values=np.inf)
        around = np.minimum.reduce([around[:-2], around[1:-1], around[2:]])
        around = np.minimum.reduce([around[:, :-2], around[:, 1:-1], around[:, 2:]])
        cells = np.where(np.isfinite(cells), cells, around)
    return cells.repeat(CELL_PX, 0).repeat(CELL_PX, 1)[:height, :width]


def judge(joints: Sequence[Keypoint], flesh_m: Sequence[float], index: int, sight: Sight) -> tuple[Keypoint, ...]:
    """`joints` with those that a surface hides as `occluded`; flesh_m: how far each may lie under its own skin."""
    return tuple(
        replace(joint, state="occluded", hidden_by=hider)
        if joint.state == "visible" and (hider := find_hider(joint, depth_m, index, sight))
        else joint
        for joint, depth_m in zip(joints, flesh_m, strict=True)
    )


def judge_face(bones: Sequence[Keypoint] | None, torso_m: float, index: int, sight: Sight) -> tuple[Keypoint, ...] | None:
    """The points of a face: those chosen, else those of its bones, the others from the mesh beside them; None without any.

    Where there is no mesh that could hide them, all are `occluded` when the back of the head is seen.
    """
    skin, chosen = sight.faces.get(index), sight.chosen.get(index)
    height, width = (side * sight.divisor for side in sight.depth.shape)
    if chosen:
        bones = [chosen.get(name, bone) for name, bone in zip(FACE_NAMES, bones or [MISSING] * len(FACE_NAMES), strict=True)]
    face = follow(bones, skin, width, height) if bones and skin else tuple(bones or skin or ())
    if index not in sight.bodies and face and turned_away(face):
        return tuple(
            replace(point, state="occluded", hidden_by="own_body") if point.state == "visible" else point for point in face
        )
    return judge(face, [torso_m * FLESH_OF_FACE] * len(face), index, sight) or None


def name_head(joints: Sequence[Keypoint]) -> tuple[Keypoint, ...]:
    """The joints of a body, of which its own hides those of the head as `own_head`."""
    return tuple(
        replace(joint, hidden_by="own_head") if name in HEAD_NAMES and joint.hidden_by == "own_body" else joint
        for name, joint in zip(KEYPOINT_NAMES, joints, strict=True)
    )


def turn_away(joints: Sequence[Keypoint]) -> tuple[Keypoint, ...]:
    """The joints of somebody without a mesh, nose and eyes hidden where they are farther away than the ears."""
    named = dict(zip(KEYPOINT_NAMES, joints, strict=True))
    ears = [named[name].depth for name in ("REar", "LEar") if named[name].state != "missing"]
    return tuple(
        replace(joint, state="occluded", hidden_by="own_head")
        if joint.state == "visible" and name in ("Nose", "REye", "LEye") and len(ears) == 2 and joint.depth > np.mean(ears)
        else joint
        for name, joint in named.items()
    )


def find_hider(joint: Keypoint, flesh_m: float, index: int, sight: Sight) -> Hider | None:
    """Whose surface is in front of `joint` in most of the 3x3 px around it; None where it is seen. Its own body's hides it only
    beyond `flesh_m`.

    Where a character has no mesh of its own, whatever is as near to a joint as flesh would be may well be its body.
    """
    row, column = int(joint.y / sight.divisor), int(joint.x / sight.divisor)
    around = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
    owner = sight.owner[around]
    others = (owner != index) & (index in sight.bodies)
    before = sight.depth[around] < joint.depth - np.where(others, 0, flesh_m)
    if before.mean() <= 0.5:
        return None
    owners, counts = np.unique(owner[before], return_counts=True)
    hider = owners[counts.argmax()]
    return "own_body" if hider == index else "prop" if hider == PROP else "character"


def torso_metres(character: Character, camera: Camera) -> float:
    """From the neck to the middle of the hips; 0 where no joint is in front of the camera."""
    places = {
        name: unproject(camera, joint)
        for name, joint in zip(KEYPOINT_NAMES, character.keypoints, strict=True)
        if joint.state not in ("behind", "missing")
    }
    if {"Neck", "RHip", "LHip"} <= places.keys():
        return float(np.linalg.norm(places["Neck"] - (places["RHip"] + places["LHip"]) / 2))
    points = np.array([*places.values()] or [(0.0, 0.0, 0.0)])
    return TORSO_SHARE * float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())
