"""A request of people in OpenPose's JSON, as detectors and editors of poses write it, and openpose.py."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .check import SIDE_STEP_PX, SMALLEST_SIDE_PX
from .openpose import MISSING, R_HIP
from .refusal import Refusal
from .scene import (
    FACE_NAMES,
    FARTHEST,
    FEET_NAMES,
    HAND_NAMES,
    KEYPOINT_NAMES,
    Character,
    Keypoint,
    RenderRequest,
    resized,
    with_joints,
)

COCO_18, BODY_25 = len(KEYPOINT_NAMES), len(KEYPOINT_NAMES) + 1 + len(FEET_NAMES)  # the latter with the middle of the hips


class PosesError(Refusal):
    """No request can be made of these poses. The message is the end of a sentence: what the file has, and the next step."""


class Found(Struct, frozen=True):
    """One person: x, y and confidence of each joint in turn; nothing, or null, of what was not looked for."""

    pose_keypoints_2d: list[float] | None = None
    face_keypoints_2d: list[float] | None = None
    hand_left_keypoints_2d: list[float] | None = None
    hand_right_keypoints_2d: list[float] | None = None


class Poses(Struct, frozen=True):
    """The people of one picture. Editors of poses write its size, OpenPose itself does not."""

    people: list[Found]
    canvas_width: int | None = None
    canvas_height: int | None = None


def read_openpose(content: bytes, canvas: tuple[int, int] | None = None) -> RenderRequest:
    """Those in `content`, in a picture of its canvas with sides rounded to multiples of 8; all prompts are empty.

    canvas: px, where `content` does not say it. Joints are px of it, or shares of it where none is beyond 1, as some programs
    write them. Those of confidence 0 are missing, and whoever has none is left out. Nothing tells who is nearer: whoever
    reaches farther down in the picture is taken to be, and comes first. Raises PosesError.
    """
    try:
        read = msgspec.json.decode(content, type=Poses | list[Poses])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PosesError(f"no people as OpenPose writes them ({error}): name another file") from error
    if isinstance(read, list) and len(read) != 1:
        raise PosesError(f"the people of {len(read)} pictures: put those of each into a file of its own")
    poses = read[0] if isinstance(read, list) else read
    if poses.canvas_width and poses.canvas_height:
        canvas = poses.canvas_width, poses.canvas_height
    if canvas is None or min(canvas) < 1:
        raise PosesError("no canvas_width and canvas_height: say as --canvas WxH how large the picture is in which they stand")
    people = [person for found in poses.people if (person := read_person(found))]
    joints = [joint for person in people for joint in (*person.keypoints, *(person.feet or ()))]
    size = (1, 1) if max((abs(place) for joint in joints for place in (joint.x, joint.y)), default=2) <= 1 else canvas
    request = RenderRequest(width=size[0], height=size[1], prompt="", characters=tuple(people))
    request = resized(request, *(max(SMALLEST_SIDE_PX, SIDE_STEP_PX * round(side / SIDE_STEP_PX)) for side in canvas))
    near_to_far = sorted(request.characters, key=lambda one: -max(joint.y for joint in one.keypoints))
    return replace(request, characters=tuple(stand(one, number, request) for number, one in enumerate(near_to_far, start=1)))


def read_person(found: Found) -> Character | None:
    """Somebody without a name and a place in the depth; None who has no joint. Raises PosesError."""
    body = read_joints(found.pose_keypoints_2d, "the body", COCO_18, BODY_25)
    if body is None or all(joint is MISSING for joint in body):
        return None
    feet = body[COCO_18 + 1 :] or None
    if feet:
        body = (*body[:R_HIP], *body[R_HIP + 1 : COCO_18 + 1])  # without the middle of the hips
    return Character(
        id="?",
        name="?",
        prompt="",
        keypoints=body,
        feet=feet,
        face=read_joints(found.face_keypoints_2d, "the face", len(FACE_NAMES)),
        left_hand=read_joints(found.hand_left_keypoints_2d, "a hand", len(HAND_NAMES)),
        right_hand=read_joints(found.hand_right_keypoints_2d, "a hand", len(HAND_NAMES)),
    )


def read_joints(numbers: Sequence[float] | None, what: str, *counts: int) -> tuple[Keypoint, ...] | None:
    """None where nobody looked for them. counts: how many there may be. Raises PosesError."""
    if not numbers:
        return None
    if len(numbers) not in [3 * count for count in counts]:
        wanted = " or ".join(str(3 * count) for count in counts)
        raise PosesError(
            f"{len(numbers)} numbers for {what} of somebody, where there should be {wanted}: x, y and confidence of each joint"
        )
    if max(map(abs, numbers)) > FARTHEST:
        raise PosesError(f"a number beyond {FARTHEST:.0f} in {what} of somebody: correct it")
    triples = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return tuple(Keypoint(x=x, y=y, depth=1.0) if sure > 0 else MISSING for x, y, sure in triples)


def stand(person: Character, number: int, request: RenderRequest) -> Character:
    """`person` as the one of this number from the front."""

    def at_depth(joint: Keypoint) -> Keypoint:
        if joint.state == "missing":
            return joint
        inside = 0 <= joint.x < request.width and 0 <= joint.y < request.height
        return replace(joint, depth=float(number), state="visible" if inside else "outside")

    return replace(with_joints(person, at_depth), id=f"person-{number}", name=f"Person {number}")
