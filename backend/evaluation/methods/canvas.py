"""What methods without stages share: one prompt for the whole scene, one pose picture, one canvas of noise."""

from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np
import torch

from ....protocol import RenderRequest
from ...models.load import Models
from ...models.loras import LoraScales, merge_loras
from ...pipeline.conditions import Condition, joined, joined_once, whole_prompt
from ...pipeline.joint import denoise
from ...pipeline.latents import decode_latents
from ...pipeline.progress import Progress
from ...pipeline.prompts import PromptEncoder
from ...pipeline.sampler import Sampler, make_sampler
from ...pipeline.seeds import draw_noise
from ...planning.people import gather_people, scaled
from ...planning.plan import Size
from ...planning.resolve import resolved_settings
from ...planning.views import View
from ...pose import draw_pose
from ...watch import Watcher

# what every method reads, and what those of a canvas read besides; they average views as their papers do, uniformly
DIFFUSION = frozenset(
    (
        "steps", "guidance_scale", "scheduler", "controlnet_conditioning_scale", "guide_pose", "hcp_scale", "few_steps",
        "hidden_joints",
    )
)  # fmt: skip
CANVAS = DIFFUSION | {"size_conditioning", "controlnet_views", "guidance_interval"}


@dataclass(frozen=True)
class WholeScene:
    """A canvas of `size` with the prompt and the LoRAs of the whole scene and its skeletons, uint8 (H, W, 3)."""

    size: Size
    prompt: str
    negative_prompt: str
    pose: np.ndarray
    loras: LoraScales

    def conditions(self, views: list[View], window: int, factor: int) -> list[Condition]:
        """The same prompt for all views, and the piece of the pose picture that each sees; one without a skeleton is empty."""
        pieces = [partial(self.piece, view, window, factor) for view in views]
        return [Condition(self.prompt, self.negative_prompt, piece, self.loras, not piece().any()) for piece in pieces]

    def piece(self, view: View, window: int, factor: int) -> np.ndarray:
        rows, columns = (slice(start * factor, (start + window) * factor) for start in view)
        return self.pose[rows, columns]


def describe_whole_scene(models: Models, request: RenderRequest, size: Size) -> WholeScene:
    """The scene at `size`: its own prompt, then everybody's from left to right; limbs as wide as in training."""
    people = gather_people(msgspec.structs.replace(request, backdrop=None), models.manifest)  # these methods draw none
    keypoints = [person.among_others(request.settings.hidden_joints) for person in people]
    joints = [scaled(points, size.width / request.width, size.height / request.height) for points in keypoints]
    pose = draw_pose(joints, size.width, size.height, models.manifest.pose_line_width_px)
    from_left = sorted(people, key=lambda person: float(person.keypoints[person.keypoints[:, 2] > 0, 0].mean()))
    prompt = joined(request.prompt, *(whole_prompt(person.character) for person in from_left), request.style)
    negative = joined_once(request.negative_prompt, *(person.character.negative_prompt for person in people))
    return WholeScene(size, prompt, negative, pose, merge_loras(request.loras))


def make_canvas_sampler(models: Models, request: RenderRequest, size: Size) -> Sampler:
    """The whole schedule on a canvas of `size`, with the base UNet."""
    settings = resolved_settings(request)
    return replace(
        make_sampler(models, request, PromptEncoder(models)),
        controlnet_views=settings.controlnet_views,
        guidance_interval=settings.guidance_interval,
        canvas_px=(size.height, size.width) if settings.size_conditioning == "canvas" else None,
    )


def start_noise(sampler: Sampler, request: RenderRequest, size: Size, purpose: str) -> torch.Tensor:
    """float32 (C, h, w), as noisy as the scheduler starts."""
    factor = sampler.models.latent_downsampling
    shape = (sampler.models.vae.config["latent_channels"], size.height // factor, size.width // factor)
    return draw_noise(request.seed, purpose, shape).to(sampler.models.device) * sampler.scheduler.init_noise_sigma


def draw_from_noise(models: Models, request: RenderRequest, views: list[View], window: int, watcher: Watcher) -> np.ndarray:
    """The picture that views of `window` latents make of one noise, each with the prompt of the whole scene."""
    size = Size(request.width, request.height)
    sampler, scene = make_canvas_sampler(models, request, size), describe_whole_scene(models, request, size)
    sampler = replace(sampler, background_every=request.settings.background_every)
    progress = Progress(watcher, 1, len(views) * len(sampler.timesteps))
    with progress.stage("enlarge", 1, len(sampler.timesteps)) as stage:
        begin = partial(start_noise, sampler, request, size, "canvas")
        conditions = scene.conditions(views, window, models.latent_downsampling)
        latents = denoise(sampler, begin, window, views, conditions, stage)
    with progress.stage("decode", 1):
        return decode_latents(models, latents)


def whole_view(size: Size, factor: int) -> tuple[list[View], int]:
    """The one view that sees everything: its window is the longer side, and slices end where the canvas does."""
    return [(0, 0)], max(size.width, size.height) // factor
