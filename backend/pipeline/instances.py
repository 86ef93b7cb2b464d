"""Stage 1: every person alone, at the training resolution, in the exported pose, from that person's own prompt."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ...protocol import Character, RenderRequest
from ..models.load import Models
from ..models.loras import merge_loras
from ..planning.people import Person, bounding_box
from ..planning.resolve import resolved_settings
from ..pose import draw_pose
from .conditions import Condition, joined, joined_once, whole_prompt
from .joint import denoise
from .latents import decode_latents
from .progress import Progress
from .prompts import PromptEncoder
from .sampler import make_sampler
from .seeds import draw_noise


@dataclass(frozen=True)
class Similarity:
    """p_canvas = scale * p_scene + (shift_x, shift_y), in pixels of the request and of the person's own canvas."""

    scale: float
    shift_x: float
    shift_y: float

    def apply(self, keypoints: np.ndarray) -> np.ndarray:
        """(N, 3), N as in Person, in the scene to (N, 3) on the canvas."""
        return keypoints * (self.scale, self.scale, 1) + (self.shift_x, self.shift_y, 0)


@dataclass(frozen=True)
class Portrait:
    """A person drawn alone. image: uint8 (side, side, 3) at the training resolution."""

    person: Person
    canvas_from_scene: Similarity
    image: np.ndarray


def draw_people_alone(
    models: Models, request: RenderRequest, people: list[Person], encoder: PromptEncoder, progress: Progress
) -> list[Portrait]:
    """One portrait per person.

    They are denoised as the views of one tall canvas that do not overlap, which is the same as one by one.
    """
    if not people:
        return []
    settings, side = resolved_settings(request), models.training_resolution_px
    window = models.view_latents
    placements = [centre(person.portrait_keypoints, side, settings.person_cover) for person in people]
    conditions = [describe_alone(models, request, p, at) for p, at in zip(people, placements, strict=True)]
    channels = models.vae.config["latent_channels"]
    sampler = make_sampler(models, request, encoder)

    def begin() -> torch.Tensor:
        noise = [begin_alone(request, p.character, (channels, window, window)) for p in people]
        return torch.cat(noise, 1).to(models.device) * sampler.scheduler.init_noise_sigma

    views = [(index * window, 0) for index in range(len(people))]
    with progress.stage("instances", steps=settings.steps) as stage:
        latents = denoise(sampler, begin, window, views, conditions, stage)
        images = [decode_latents(models, latents[:, top : top + window]) for top, _ in views]
        progress.preview(np.concatenate(images[:4], 1))
    return [Portrait(p, at, image) for p, at, image in zip(people, placements, images, strict=True)]


def begin_alone(request: RenderRequest, character: Character, shape: tuple[int, ...]) -> torch.Tensor:
    seed = request.seed if character.seed is None else character.seed
    return draw_noise(seed, f"person {character.id}", shape)


def describe_alone(models: Models, request: RenderRequest, person: Person, canvas_from_scene: Similarity) -> Condition:
    side = models.training_resolution_px
    joints = canvas_from_scene.apply(person.alone(request.settings.hidden_joints))
    pose = partial(draw_pose, [joints], side, side, models.manifest.pose_line_width_px)
    prompt = joined(whole_prompt(person.character), request.style, models.manifest.framing_prompt)
    negative = joined_once(request.negative_prompt, person.character.negative_prompt)
    return Condition(prompt, negative, pose, merge_loras(request.loras, person.character.loras))


def centre(keypoints: np.ndarray, side_px: int, cover: float) -> Similarity:
    """Put the body in the middle of a square canvas of `side_px`; its taller side covers the share `cover` of it, 0 to 1.

    keypoints: (N, 3), N as in Person, in pixels of the request.
    The transform is kept exactly, so that the portrait goes back to where the person stands.
    """
    left, top, right, bottom = bounding_box(keypoints)
    scale = cover * side_px / max(right - left, bottom - top, 1e-6)
    return Similarity(scale, side_px / 2 - scale * (left + right) / 2, side_px / 2 - scale * (top + bottom) / 2)
