"""The request of a scene at one moment, with what its camera saw."""

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import bpy
from msgspec.structs import replace

from ...protocol import DRAWN, Character, RenderRequest, RequestError, check_request, depth_metres
from ..colours import Colour, get_colour
from ..exporters import Sight, add_sight, find_left_out, gather_request, look_at, people_of
from ..session import current
from .strokes import Style

QUICK_SHORT_SIDE_PX = 256  # of a quick look at the surfaces
STATES = {
    ("visible", None): "seen",
    ("occluded", None): "hidden",
    ("occluded", "own_body"): "hidden by the own body",
    ("occluded", "own_head"): "on the far side of the head",
    ("occluded", "character"): "hidden by others",
    ("occluded", "prop"): "hidden by the set",
    ("outside", None): "outside",
    ("behind", None): "behind the camera",
    ("missing", None): "missing",
}


@dataclass(frozen=True)
class Controls:
    """What would be sent. Holds no Blender data, which an undo or another file would take away.

    request: with masks and hidden joints where the surfaces were looked at; its `hidden_joints` is never left open.
    sight: the surfaces; None where nobody looked yet.
    refusal: why nothing would be sent, or nothing.
    left_out: who is not in the request, and why.
    colours: of the people, in the order of the request.
    style: of the skeletons, as far as a backend has told what the chosen models want.
    """

    request: RenderRequest
    sight: Sight | None
    refusal: str
    left_out: tuple[str, ...]
    colours: tuple[Colour, ...]
    style: Style

    def far_to_near(self) -> list[tuple[int, Character]]:
        """The people who are drawn, in the order in which that happens, with their places in the request."""
        people = enumerate(self.request.characters)
        drawn = [(n, who) for n, who in people if self.shows(n) and any(joint.state in DRAWN for joint in who.keypoints)]
        return sorted(drawn, key=lambda pair: -depth_metres(pair[1]))

    def shows(self, index: int) -> bool:
        """Whether anything is seen of somebody, as far as is known; who is wholly hidden is left out of the picture."""
        if self.sight is None or index not in self.sight.bodies:
            return True
        return bool((self.sight.owner == index).any())


def gather_controls(
    context: bpy.types.Context, *, surfaces: bool = True, quick: bool = False, deadline_s: float = math.inf
) -> Controls:
    """What a render of `context` would send now. Raises ExportError where there is nobody or no camera.

    surfaces: look at the meshes, which takes longest by far; where that is not over at `deadline_s`, as of time.monotonic,
        nobody has looked. quick: at a low resolution.
    """
    request, sight, refusal = gather_request(context), None, ""
    try:
        check_request(request)
    except RequestError as error:
        refusal = str(error)
    if surfaces:
        divisor = max(1, min(request.width, request.height) // QUICK_SHORT_SIDE_PX) if quick else None
        with suppress(TimeoutError):
            sight = look_at(context, request, divisor, deadline_s)
            request, _ = add_sight(request, sight)
    colours = tuple(get_colour(person.described.beyondscene) for person in people_of(context, request))
    left_out = tuple(f"{person.name} {why}" for person, why in find_left_out(context))
    style = find_style(context.scene.beyondscene.models)
    hidden_joints = request.settings.hidden_joints or style.hidden_joints
    request = replace(request, settings=replace(request.settings, hidden_joints=hidden_joints))
    return Controls(request, sight, refusal, left_out, colours, style)


def find_style(models: str) -> Style:
    """How the model set of that name wants its skeletons."""
    info = current().model_info(models)
    if info is None or not info.pose_line_width_px:
        return Style()
    share = info.pose_line_width_px / info.training_resolution_px
    return Style(share, info.pose_hands, info.pose_face, info.pose_feet, info.hidden_joints)


def describe(character: Character) -> str:
    """How many of somebody's joints are in which state: "15 seen, 2 hidden by the own body, 1 outside"."""
    counts = Counter((joint.state, joint.hidden_by) for joint in character.keypoints)
    return ", ".join(f"{counts[pair]} {words}" for pair, words in STATES.items() if counts[pair])
