"""People as OpenPose writes them to JSON, for other programs that take poses; see its doc/02_output.md."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from .scene import Keypoint, RenderRequest
from .skeleton import DRAWN, FACE_DRAWN, find_brightness

BodyModel = Literal["COCO_18", "BODY_25"]

R_HIP, L_HIP = 8, 11  # in KEYPOINT_NAMES; BODY_25 has the middle of the hips before them, and the feet at the end
MISSING = Keypoint(x=0.0, y=0.0, depth=0.0, state="missing")


def openpose_json(request: RenderRequest, seen: Sequence[str], model: BodyModel = "COCO_18") -> bytes:
    """The people of `request` whose ids are in `seen`, in that order.

    Coordinates are px of the picture, whose size is `canvas_width` and `canvas_height`, as editors of pose pictures write it.
    In the place of a detector's confidence stands the brightness of the joint in our own pose picture, 0 where it is left out.
    Where `hidden_joints` is left open, hidden ones are left out, as a detector does.
    COCO_18 is what ControlNets know; BODY_25 has feet as well, and the middle of the hips.
    """
    characters = {one.id: one for one in request.characters}
    people = []
    for one in (characters[name] for name in seen):
        body = one.keypoints if model == "COCO_18" else to_body_25(one.keypoints, one.feet or (MISSING,) * 6)
        face = [point if point.state in FACE_DRAWN else MISSING for point in one.face or ()]
        people.append(
            {
                "person_id": [-1],
                "pose_keypoints_2d": flatten(body, request),
                "face_keypoints_2d": flatten(face, request),
                "hand_left_keypoints_2d": flatten(one.left_hand or (), request),
                "hand_right_keypoints_2d": flatten(one.right_hand or (), request),
            }
        )
    told = {"version": 1.3, "people": people, "canvas_width": request.width, "canvas_height": request.height}
    return msgspec.json.encode(told)


def to_body_25(keypoints: Sequence[Keypoint], feet: Sequence[Keypoint]) -> tuple[Keypoint, ...]:
    """The 18 of COCO and the feet in the order of BODY_25; the middle of the hips is missing where a hip is."""
    right, left = keypoints[R_HIP], keypoints[L_HIP]
    middle = MISSING
    if right.state in DRAWN and left.state in DRAWN:
        state = right.state if right.state == left.state else "visible"
        x, y, depth = ((getattr(right, axis) + getattr(left, axis)) / 2 for axis in ("x", "y", "depth"))
        middle = Keypoint(x=x, y=y, depth=depth, state=state, hidden_by=right.hidden_by if state == "occluded" else None)
    return (*keypoints[:R_HIP], middle, *keypoints[R_HIP:], *feet)


def flatten(joints: Sequence[Keypoint], request: RenderRequest) -> list[float]:
    """x, y and brightness of each in turn; three zeros for one that is not drawn."""
    numbers = []
    for joint in joints:
        brightness = find_brightness(joint, request)
        numbers += [round(joint.x, 3), round(joint.y, 3), brightness] if brightness else [0.0, 0.0, 0.0]
    return numbers
