"""Region-based MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113, section 4.2): a prompt and a mask per person.

Outputs are averaged with the masks as weights; the scene's prompt holds where nobody stands. For the first steps each person
is denoised before a random plain colour outside the mask, so that the body is drawn inside it ("bootstrapping", eq. 9).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ....protocol import RenderRequest
from ...models.load import Models
from ...models.loras import merge_loras
from ...pipeline.batches import Batch, make_batches
from ...pipeline.conditions import joined, to_grid, whole_prompt
from ...pipeline.joint import knowing_batches, predict
from ...pipeline.latents import decode_latents, encode_image
from ...pipeline.progress import Progress, StageProgress
from ...pipeline.sampler import Sampler
from ...pipeline.schedule import add_noise, scale_model_input, scheduler_step
from ...pipeline.seeds import numpy_random
from ...planning.people import gather_people
from ...planning.plan import Size
from ...planning.views import View
from ...watch import Watcher
from ..places import outline
from .canvas import CANVAS, WholeScene, describe_whole_scene, make_canvas_sampler, start_noise
from .multidiffusion import dense_views

READS = CANVAS | {"stride_instance"}
BOOTSTRAPPING = 0.4  # of the steps; the authors' 20 of 50


@dataclass(frozen=True)
class Region:
    """One prompt and where it holds. weight: float32 (h, w), 0 or 1. plain: (C, 1, 1) clean latent of a plain colour."""

    batches: list[Batch]
    weight: torch.Tensor
    plain: torch.Tensor | None


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    size = Size(request.width, request.height)
    sampler, scene = make_canvas_sampler(models, request, size), describe_whole_scene(models, request, size)
    views, window = dense_views(models, request)
    regions = make_regions(sampler, request, arrays, scene, views, window)
    evaluations = sum(len(batch.views) for region in regions for batch in region.batches)
    progress = Progress(watcher, 1, evaluations * len(sampler.timesteps))
    with progress.stage("enlarge", 1, len(sampler.timesteps)) as stage:
        latents = start_noise(sampler, request, size, "canvas")
        with knowing_batches(sampler, [batch for region in regions for batch in region.batches]):
            latents = denoise_regions(sampler, latents, regions, window, stage)
    with progress.stage("decode", 1):
        return decode_latents(models, latents)


def make_regions(
    sampler: Sampler, request: RenderRequest, arrays: dict[str, np.ndarray], scene: WholeScene, views: list[View], window: int
) -> list[Region]:
    """Each person's region, and the background's; views that a mask does not touch are left out, as they weigh nothing."""
    factor = sampler.models.latent_downsampling
    height, width = request.height // factor, request.width // factor
    random = numpy_random(request.seed, "plain colours")
    free, regions = np.ones((height, width), bool), []
    for person in reversed(gather_people(request)):  # near to far: the nearer one has the place
        mask = to_grid(outline(person, request, arrays), height, width) & free
        free &= ~mask
        colour = np.full((sampler.models.training_resolution_px,) * 2 + (3,), random.integers(0, 256, 3), np.uint8)
        plain = encode_image(sampler.models, colour).mean((1, 2), keepdim=True)
        own = replace(
            scene,
            prompt=joined(whole_prompt(person.character), request.style),
            loras=merge_loras(request.loras, person.character.loras),
        )
        regions.append(make_region(sampler, own, mask, plain, views, window))
    background = replace(scene, prompt=joined(request.prompt, request.style))
    return [*regions, make_region(sampler, background, free, None, views, window)]


def make_region(
    sampler: Sampler, scene: WholeScene, mask: np.ndarray, plain: torch.Tensor | None, views: list[View], window: int
) -> Region:
    """scene: with the region's own prompt. mask: bool (h, w), where it holds."""
    touched = [(top, left) for top, left in views if mask[top : top + window, left : left + window].any()]
    conditions = scene.conditions(touched, window, sampler.models.latent_downsampling)
    weight = torch.from_numpy(mask.astype(np.float32)).to(sampler.models.device)
    return Region(list(make_batches(sampler, touched, conditions)), weight, plain)


@torch.inference_mode()
def denoise_regions(
    sampler: Sampler, latents: torch.Tensor, regions: list[Region], window: int, stage: StageProgress
) -> torch.Tensor:
    """As joint.denoise, with the outputs of each region weighted by its mask; (C, h, w), clean."""
    noise = latents / sampler.scheduler.init_noise_sigma
    counts = torch.zeros(latents.shape[-2:], device=latents.device)
    for region in regions:
        for top, left in (view for batch in region.batches for view in batch.views):
            here = (slice(top, top + window), slice(left, left + window))
            counts[here] += region.weight[here]
    for index, timestep in enumerate(sampler.timesteps):
        total = torch.zeros_like(latents)
        for region in regions:
            seen = latents
            if region.plain is not None and index < BOOTSTRAPPING * len(sampler.timesteps):
                clean = region.plain.expand_as(latents)
                plain = add_noise(sampler.scheduler, clean, noise, timestep)
                seen = latents * region.weight + plain * (1 - region.weight)
            scaled = scale_model_input(sampler.scheduler, seen, timestep)
            for batch in region.batches:
                for (top, left), output in zip(batch.views, predict(sampler, batch, scaled, window, timestep), strict=True):
                    here = (slice(top, top + window), slice(left, left + window))
                    total[:, here[0], here[1]] += output * region.weight[here]
        latents = scheduler_step(sampler.scheduler, total / counts, timestep, latents)
        stage.step(evaluations=sum(len(batch.views) for region in regions for batch in region.batches))
    return latents
