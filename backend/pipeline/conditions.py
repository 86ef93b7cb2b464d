"""What each view is told: Algorithm 3, adaptive conditioning. Text from the people in it, pose from their joints."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ...protocol import Character, RenderRequest
from ...protocol.emphasis import escape_open
from ..models.loras import LoraScales, merge_loras
from ..planning.people import Figure, scaled
from ..planning.plan import Size
from ..planning.views import View
from ..pose import draw_pose


@dataclass(frozen=True)
class Condition:
    """What one view is told.

    pose: draws its skeletons, uint8 (side, side, 3) at the training resolution, or as much of that as lies on the canvas; the
    pictures of all views of a large canvas would take more memory than the canvas. loras: that are active for it.
    empty: no pixel of anybody's mask is in it, whosever text it is told.
    """

    prompt: str
    negative_prompt: str
    pose: Callable[[], np.ndarray]
    loras: LoraScales = ()
    empty: bool = False


@dataclass(frozen=True)
class Speaker:
    """A text, whose it is, and where it holds. mask: bool (h, w) in latents of the canvas."""

    character: Character
    prompt: str
    negative_prompt: str
    mask: np.ndarray


def describe_views(
    request: RenderRequest,
    figures: list[Figure],
    canvas: Size,
    views: list[View],
    window_px: int,
    latent_downsampling: int,
    line_width_px: int,
) -> list[Condition]:
    """One condition per view.

    figures: far to near, of the base image. window_px: side of a view. line_width_px: of a limb, as in training, whatever the
    canvas; with `pose_at_levels` "upscaled" at the size of the base, from which skeletons are enlarged as a picture.
    """
    speakers = gather_speakers(figures, canvas.height // latent_downsampling, canvas.width // latent_downsampling)
    keypoints = [figure.person.among_others(request.settings.hidden_joints) for figure in figures]
    joints = [scaled(points, canvas.width / request.width, canvas.height / request.height) for points in keypoints]
    # how much larger the canvas is than the base image, whose short side is a view's
    growth = min(canvas.width, canvas.height) / window_px if request.settings.pose_at_levels == "upscaled" else 1.0
    window_latents = window_px // latent_downsampling
    everywhere = slice(None), slice(None)
    conditions = []
    for top, left in views:
        offset = np.array((left * latent_downsampling, top * latent_downsampling, 0))
        moved = (points - offset for points in joints)
        near = [points for points in moved if may_show(points, window_px, (line_width_px + 2) * growth)]
        pose = partial(enlarge_pose, near, window_px, line_width_px, growth)
        window = slice(top, top + window_latents), slice(left, left + window_latents)
        empty = not any(speaker.mask[window].any() for speaker in speakers)
        told_of = everywhere if request.settings.view_prompts == "everybody" else window
        present = who_is_present(request, speakers, told_of)
        conditions.append(Condition(*view_texts(request, present), pose, view_loras(request, present), empty))
    return conditions


def may_show(keypoints: np.ndarray, side_px: int, reach_px: float) -> bool:
    """Whether a view could see any of a skeleton that reaches `reach_px` beyond its joints, (N, 3) in pixels of the view."""
    points = keypoints[keypoints[:, 2] > 0, :2]
    return len(points) > 0 and bool((points.max(0) > -reach_px).all() and (points.min(0) < side_px + reach_px).all())


def enlarge_pose(people: list[np.ndarray], side_px: int, line_width_px: int, growth: float) -> np.ndarray:
    """uint8 (side, side, 3): the part that a view sees of skeletons that were drawn `growth` times smaller."""
    if growth == 1:
        return draw_pose(people, side_px, side_px, line_width_px)
    rim = np.array((1, 1, 0))  # so that enlarging sees beyond the view
    small_px = int(np.ceil(side_px / growth)) + 2
    small = [scaled(points, 1 / growth, 1 / growth) + rim for points in people]
    drawn = draw_pose(small, small_px, small_px, line_width_px)
    matrix = np.array([[growth, 0, -growth], [0, growth, -growth]])
    matrix[:, 2] += growth * 0.5 - 0.5  # cv2 counts from pixel centres
    return cv2.warpAffine(drawn, matrix, (side_px, side_px), flags=cv2.INTER_CUBIC)


def who_is_present(request: RenderRequest, speakers: list[Speaker], window: tuple[slice, slice]) -> list[Speaker]:
    """Whose masks touch the rows and columns of `window`: people from left to right, each with their own parts after them.

    speakers: each person before their parts.
    """
    least = 0.0 if request.settings.view_prompts == "everybody" else request.settings.min_overlap  # which is a share of a view
    present = [speaker for speaker in speakers if float(speaker.mask[window].mean()) > least]
    seen: dict[str, np.ndarray] = {}  # where anything of a character is
    for speaker in present:
        mask = speaker.mask[window]
        seen[speaker.character.id] = seen.get(speaker.character.id, mask) | mask
    middle = {character: float(np.nonzero(mask)[1].mean()) for character, mask in seen.items()}
    return sorted(present, key=lambda speaker: middle[speaker.character.id])


def view_texts(request: RenderRequest, present: list[Speaker]) -> tuple[str, str]:
    """Prompt and negative prompt of a view.

    Without people it is the scene's. With them, `prepend_global` puts the scene before (the paper's text and figures
    differ on it). The style is last, and said once however many people there are.
    """
    prompts = [speaker.prompt for speaker in present]
    if not prompts or request.settings.prepend_global:
        prompts.insert(0, request.prompt)
    negative = joined_once(request.negative_prompt, *(speaker.negative_prompt for speaker in present))
    return joined(*prompts, request.style), negative


def joined(*texts: str) -> str:
    """Those that say something, as one prompt, in which no mark of emphasis goes from one text to another."""
    return ", ".join(escape_open(text) for text in texts if text.strip())


def whole_prompt(character: Character) -> str:
    """What is said of a person and of their parts, for whoever draws or looks at all of them at once."""
    return joined(character.prompt, *character.part_prompts.values())


def joined_once(*texts: str) -> str:
    """Those that say something, each once: scene and people often have the same negative prompt."""
    return joined(*dict.fromkeys(texts))


def view_loras(request: RenderRequest, present: list[Speaker]) -> LoraScales:
    """The scene's LoRAs, and those of whoever is alone in a view: a likeness would pass over to everybody else in it."""
    alone = len({speaker.character.id for speaker in present}) == 1
    return merge_loras(request.loras, present[0].character.loras if alone else ())


def gather_speakers(figures: list[Figure], height: int, width: int) -> list[Speaker]:
    """Each person, and each part of one that has a prompt of its own; masks brought to (height, width) latents."""
    speakers = []
    for figure in figures:
        character = figure.person.character
        speakers.append(Speaker(character, character.prompt, character.negative_prompt, to_grid(figure.mask, height, width)))
        for part, prompt in character.part_prompts.items():
            if prompt.strip() and part in figure.parts:
                speakers.append(Speaker(character, prompt, "", to_grid(figure.parts[part], height, width)))
    return speakers


def to_grid(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool (H, W) to bool (height, width): a cell is set if any of its pixels is, so that thin limbs are not lost."""
    return F.adaptive_max_pool2d(torch.from_numpy(mask.astype(np.float32))[None], (height, width))[0].numpy() > 0
