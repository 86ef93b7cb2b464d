"""What is to be rendered: the request that Blender exports, the wire carries and a JSON file stores."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from .settings import RenderSettings

REQUEST_FORMAT = 1

SEEN, FREE, HIDDEN = 255, 128, 0  # values of a mask, see Character
SHORT_SIDE_PX = 1024  # that is worth sending of a mask or a backdrop: the base images that they are for have no more
GREY = 127  # where a picture has no backdrop yet, and where that is transparent

# COCO-18 in the order of OpenPose and of every OpenPose ControlNet. "Right" is the person's own right.
KEYPOINT_NAMES = (
    "Nose",
    "Neck",
    "RShoulder",
    "RElbow",
    "RWrist",
    "LShoulder",
    "LElbow",
    "LWrist",
    "RHip",
    "RKnee",
    "RAnkle",
    "LHip",
    "LKnee",
    "LAnkle",
    "REye",
    "LEye",
    "REar",
    "LEar",
)

# A hand in the order of OpenPose: the wrist, then each finger from the palm to its tip.
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
HAND_NAMES = ("Wrist", *(f"{finger}{joint}" for finger in FINGERS for joint in (1, 2, 3, 4)))

# A face in the order of OpenPose: the 68 points of iBUG's 300-W, then the pupils.
FACE_NAMES = (
    *(f"RJaw{number}" for number in range(1, 9)),  # from the ear
    "Chin",
    *(f"LJaw{number}" for number in range(8, 0, -1)),
    *(f"RBrow{number}" for number in range(5, 0, -1)),  # 1 is next to the nose
    *(f"LBrow{number}" for number in range(1, 6)),
    *(f"Bridge{number}" for number in range(1, 5)),  # 4 is the tip of the nose
    *("RNostril2", "RNostril1", "Septum", "LNostril1", "LNostril2"),
    *("RLid4", "RLid3", "RLid2", "RLid1", "RLid6", "RLid5"),  # 1 the inner corner, 2 and 3 above, 4 the outer, 5 and 6 below
    *(f"LLid{number}" for number in range(1, 7)),
    *("RLipCorner", "RLipTop2", "RLipTop1", "LipTop", "LLipTop1", "LLipTop2"),
    *("LLipCorner", "LLipBottom2", "LLipBottom1", "LipBottom", "RLipBottom1", "RLipBottom2"),
    *("RMouthCorner", "RMouthTop", "MouthTop", "LMouthTop"),  # the inner edge of the lips
    *("LMouthCorner", "LMouthBottom", "MouthBottom", "RMouthBottom"),
    *("RPupil", "LPupil"),
)

# The points of the feet that OpenPose's BODY_25 has beside the ankles, in its order (19 to 24).
FEET_NAMES = ("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel")

# Bounds are what makes msgspec refuse NaN and infinity, so no float of a request goes without.
FARTHEST = 1e6  # of anything in a request, in pixels or metres
Pixels = Annotated[float, Meta(ge=-FARTHEST, le=FARTHEST)]
Metres = Annotated[float, Meta(ge=-FARTHEST, le=FARTHEST)]
PixelsPerUnit = Annotated[float, Meta(gt=0, le=1e7)]
MatrixEntry = Annotated[float, Meta(ge=-1e9, le=1e9)]
LONGEST_SIDE_PX, LARGEST_SEED = 65536, 2**63 - 1
Side = Annotated[int, Meta(ge=1, le=LONGEST_SIDE_PX)]
Seed = Annotated[int, Meta(ge=0, le=LARGEST_SEED)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
Prompt = Annotated[str, Meta(max_length=10_000)]
DIGEST, LORA_NAME = r"^[0-9a-f]{64}$", r"^\w[\w .-]*$"
Digest = Annotated[str, Meta(pattern=DIGEST, max_length=64)]

KeypointState = Literal["visible", "occluded", "outside", "behind", "missing"]
Hider = Literal["own_body", "own_head", "character", "prop"]
PartName = Literal["head", "hair", "face", "upper_body", "lower_body", "hands", "feet"]


class Keypoint(Struct, frozen=True, kw_only=True):
    """One joint in the picture.

    x, y: pixels of the requested size, x right, y down, (0, 0) the outer corner of the top left pixel.
    depth: metres along the view axis, positive in front of the camera.
    state: `visible`, `occluded` by a surface, `outside` the frame, `behind` the camera, or `missing` from the
    rig; x, y and depth of a missing keypoint are 0.
    hidden_by: whose the surface is that hides an occluded keypoint; None where nobody looked. own_head: of nose, eyes and ears,
    which are on the far side of it.
    """

    x: Pixels
    y: Pixels
    depth: Metres
    state: KeypointState = "visible"
    hidden_by: Hider | None = None


ITEM_BYTES = {"uint8": 1, "float16": 2, "float32": 4}


class ArrayRef(Struct, frozen=True, kw_only=True):
    """An array that travels beside the request: extra frames on the wire, files named by digest on disk.

    digest: BLAKE2b-256 of the row-major bytes, hex.
    """

    digest: Digest
    dtype: Literal["uint8", "float16", "float32"]
    shape: Annotated[tuple[Side, ...], Meta(min_length=1, max_length=4)]

    @property
    def size_bytes(self) -> int:
        return ITEM_BYTES[self.dtype] * prod(self.shape)  # in Python's numbers: four sides of 65536 overflow numpy's


Body = Annotated[tuple[Keypoint, ...], Meta(min_length=18, max_length=18, description=", ".join(KEYPOINT_NAMES))]
Hand = Annotated[tuple[Keypoint, ...], Meta(min_length=21, max_length=21, description=", ".join(HAND_NAMES))]
Face = Annotated[tuple[Keypoint, ...], Meta(min_length=70, max_length=70, description=", ".join(FACE_NAMES))]
Feet = Annotated[tuple[Keypoint, ...], Meta(min_length=6, max_length=6, description=", ".join(FEET_NAMES))]


class Lora(Struct, frozen=True, kw_only=True):
    """Low-rank weights that give the model a style or a likeness.

    name: of a file in a folder of LoRAs that the backend knows, without its suffix; a label, never a path.
    scale: 1 is what the file was trained for, 0 leaves the model as it is, below 0 turns it round.
    """

    name: Annotated[str, Meta(pattern=LORA_NAME, max_length=128)]
    scale: Annotated[float, Meta(ge=-10, le=10)] = 1.0


Loras = Annotated[tuple[Lora, ...], Meta(max_length=8)]


class Character(Struct, frozen=True, kw_only=True):
    """One person: who, described how, standing where.

    right_hand, left_hand: where the rig has fingers; drawn only for models that were trained with them.
    face: where there are facial bones or a head's mesh; drawn as the hands are, but only what is not hidden.
    feet: toes and heels, where the rig has toes; drawn as the hands are.

    mask: uint8 (h, w) over the whole picture, of its size or proportions, row 0 at the top. 255 (SEEN) where this person's
    body is seen; 128 (FREE) where it is not, but nothing nearer stands in the way, so that hair and clothes beyond the body
    may show; 0 (HIDDEN) where something nearer hides whatever of them would be there. They may show above 64 and nowhere
    else; without any 255 they are left out of the picture; a mask of 0 and 255 alone cuts them at its edge. A coarser mask
    holds samples, not means, since the mean of 255 and 0 would say 128.

    seed: of this person where they are drawn alone; None: the request's. So one person can be drawn anew while all others stay,
    or stay while all else is drawn anew.
    """

    id: Label  # unique in the request; a label, never a path
    name: Label
    prompt: Prompt
    negative_prompt: Prompt = ""
    keypoints: Body
    right_hand: Hand | None = None
    left_hand: Hand | None = None
    face: Face | None = None
    feet: Feet | None = None
    part_prompts: dict[PartName, Prompt] = {}
    mask: ArrayRef | None = None
    loras: Loras = ()  # beside the scene's, where this person is drawn alone or is the only one in a view
    seed: Seed | None = None


class Camera(Struct, frozen=True, kw_only=True):
    """The pinhole or orthographic camera that made the keypoints.

    A point p of the world is q = camera_from_world @ p in the camera's frame (x right, y down, z forward, metres).
    Perspective: x_px = fx q.x / q.z + cx. Orthographic: x_px = fx q.x + cx, with fx in pixels per metre.
    """

    projection: Literal["perspective", "orthographic"] = "perspective"
    fx: PixelsPerUnit
    fy: PixelsPerUnit
    cx: Pixels
    cy: Pixels
    camera_from_world: Annotated[tuple[MatrixEntry, ...], Meta(min_length=16, max_length=16)]  # 4x4, row-major


class Backdrop(Struct, frozen=True, kw_only=True):
    """A picture of the place without its people, from which the background is drawn rather than from noise alone.

    image: uint8 (h, w, 3), sRGB, over the whole picture, of its size or proportions, row 0 at the top.
    strength: how much of it is drawn anew, as in image-to-image; None: `t_b`, at which these models keep what a picture shows.
    """

    image: ArrayRef
    strength: Annotated[float, Meta(gt=0, le=1)] | None = None


class RenderRequest(Struct, frozen=True, kw_only=True):
    """Everything about a picture. Same request, same models, same device: same picture."""

    format: Literal[1] = REQUEST_FORMAT
    width: Side
    height: Side
    seed: Seed = 0
    prompt: Prompt  # the scene, without its people
    negative_prompt: Prompt = ""
    style: Prompt = ""  # how all of it looks, the people too: said after every prompt
    backdrop: Backdrop | None = None
    camera: Camera | None = None
    characters: Annotated[tuple[Character, ...], Meta(max_length=256)] = ()
    settings: RenderSettings = RenderSettings()
    loras: Loras = ()  # on the whole picture


BACKDROP = "The backdrop"


def arrays_of(request: RenderRequest) -> Iterator[tuple[str, ArrayRef]]:
    """The arrays that `request` names, each after its own name, as which it can begin a sentence."""
    for character in request.characters:
        if character.mask is not None:
            yield f"The mask of '{character.name}'", character.mask
    if request.backdrop is not None:
        yield BACKDROP, request.backdrop.image


def is_seen(character: Character, arrays: dict[str, np.ndarray]) -> bool:
    """Whether `character` has no mask, or one that shows it somewhere. arrays: masks by digest, uint8 (H, W)."""
    return character.mask is None or bool((arrays[character.mask.digest] == SEEN).any())


def with_joints(person: Character, change: Callable[[Keypoint], Keypoint]) -> Character:
    """`person` with each joint of body, hands, face and feet changed."""
    parts = {name: getattr(person, name) for name in ("keypoints", "right_hand", "left_hand", "face", "feet")}
    return msgspec.structs.replace(person, **{name: tuple(map(change, part)) for name, part in parts.items() if part})


def resized(request: RenderRequest, width: int, height: int) -> RenderRequest:
    """The same picture at another size: keypoints and camera scaled, masks as they are.

    Other proportions stretch what is in it, and no mask fits them any more: check_request says so.
    """
    sx, sy = width / request.width, height / request.height
    replace = msgspec.structs.replace

    def within(place_px: float) -> float:  # as an export has it of what is just before the camera
        return max(-FARTHEST, min(place_px, FARTHEST))

    def scaled(joint: Keypoint) -> Keypoint:
        return replace(joint, x=within(joint.x * sx), y=within(joint.y * sy))

    camera = request.camera
    if camera is not None:
        camera = replace(camera, fx=camera.fx * sx, fy=camera.fy * sy, cx=camera.cx * sx, cy=camera.cy * sy)
    characters = tuple(with_joints(person, scaled) for person in request.characters)
    return replace(request, width=width, height=height, camera=camera, characters=characters)
