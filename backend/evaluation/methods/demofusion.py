"""DemoFusion (Du et al. 2024, arXiv 2311.16973): the whole picture again at 2, 3, ... times the size of the first.

Each phase starts from noise. Three things hold it to the phase before: the skip residual mixes in the enlarged latents, as
noisy as they should be by now; dilated sampling denoises every s-th latent as a picture of the first size; and views that
jitter denoise the detail. Their shares fall with a cosine.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from ....protocol import RenderRequest
from ...models.load import Models
from ...pipeline.batches import Batch, even_parts, make_batches
from ...pipeline.joint import add_up, denoise, knowing_batches, predict, sum_view_weights
from ...pipeline.latents import decode_latents
from ...pipeline.progress import Progress, StageProgress
from ...pipeline.resize import fit
from ...pipeline.sampler import Sampler
from ...pipeline.schedule import add_noise, scale_model_input, scheduler_step
from ...pipeline.seeds import draw_noise, numpy_random
from ...planning.plan import Size, plan_sizes
from ...planning.views import View, positions
from ...watch import Watcher
from .canvas import CANVAS, WholeScene, describe_whole_scene, make_canvas_sampler, start_noise, whole_view

READS = CANVAS
SKIP_POWER, DILATED_POWER = 3, 1  # of the cosines (the authors' alpha 1 and 2; alpha 3, of the blur, is 1)
BLUR = 0.8  # latents, of dilated sampling at the start


def draw(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], watcher: Watcher) -> np.ndarray:
    """The first phase has the training resolution as its short side, as everywhere in this project."""
    factor = models.latent_downsampling
    base = plan_sizes(request, models.training_resolution_px, factor).base
    phases = max(1, math.ceil(min(request.width, request.height) / models.training_resolution_px - 1e-9))
    window = models.view_latents
    sampler, scene = make_canvas_sampler(models, request, base), describe_whole_scene(models, request, base)
    steps, per_phase = len(sampler.timesteps), [count_views(base, factor, scale, window) for scale in range(2, phases + 1)]
    progress = Progress(watcher, phases, steps * (1 + sum(per_phase)))
    views, whole = whole_view(base, factor)
    with progress.stage("enlarge", 1, steps) as stage:
        begin = partial(start_noise, sampler, request, base, "canvas")
        latents = denoise(sampler, begin, whole, views, scene.conditions(views, whole, factor), stage)
    dilated = next(make_batches(sampler, views, scene.conditions(views, whole, factor)))
    for scale in range(2, phases + 1):
        with progress.stage("enlarge", scale, steps) as stage, knowing_batches(sampler, [dilated]):
            latents = redraw(sampler, request, latents, base, scale, dilated, stage)
    with progress.stage("decode", phases):
        return fit(decode_latents(models, latents), request.width, request.height)


@torch.inference_mode()
def redraw(
    first: Sampler, request: RenderRequest, smaller: torch.Tensor, base: Size, scale: int, dilated: Batch, stage: StageProgress
) -> torch.Tensor:
    """One phase: (C, h, w) at `scale` times the base, from the phase before.

    first: of the first phase, whose encoder made the texts of `dilated`: the one view that is the whole scene at the base's
        size.
    """
    models, size = first.models, Size(base.width * scale, base.height * scale)
    factor, window = models.latent_downsampling, models.view_latents
    scene = describe_whole_scene(models, request, size)
    sampler = replace(make_canvas_sampler(models, request, size), encoder=first.encoder)
    height, width = size.height // factor, size.width // factor
    enlarged = F.interpolate(smaller[None], (height, width), mode="bicubic")[0]
    noise = draw_noise(request.seed, f"demofusion {scale}", tuple(enlarged.shape)).to(models.device)
    random = numpy_random(request.seed, f"jitter {scale}")
    latents = add_noise(sampler.scheduler, enlarged, noise, sampler.timesteps[0])
    for timestep in sampler.timesteps:
        falling = 0.5 * (1 - math.cos(math.pi * float(timestep) / sampler.scheduler.config["num_train_timesteps"]))  # 1 to 0
        skip, share = falling**SKIP_POWER, falling**DILATED_POWER
        latents = skip * add_noise(sampler.scheduler, enlarged, noise, timestep) + (1 - skip) * latents
        scaled = scale_model_input(sampler.scheduler, latents, timestep)
        views = jittered_views(height, width, window, random)
        local = predict_views(sampler, scene, scaled, views, window, timestep)
        blurred = like(blur(scaled, BLUR * (0.99 * falling + 0.01), 2 * scale - 1), scaled)
        coarse = predict_dilated(sampler, dilated, blurred, scale, timestep)
        output = share * coarse + (1 - share) * local
        latents = scheduler_step(sampler.scheduler, output, timestep, latents)
        stage.step(evaluations=len(views) + scale**2)
    return like(latents, smaller)


def predict_views(
    sampler: Sampler, scene: WholeScene, canvas: torch.Tensor, views: list[View], window: int, timestep: torch.Tensor
) -> torch.Tensor:
    """The mean of the outputs of overlapping views, (C, h, w)."""
    batches = list(make_batches(sampler, views, scene.conditions(views, window, sampler.models.latent_downsampling)))
    weight = torch.ones(window, window, device=canvas.device)
    total = add_up(sampler, batches, canvas, weight, window, timestep)
    return total / sum_view_weights(views, weight, *canvas.shape[-2:])


def predict_dilated(sampler: Sampler, dilated: Batch, canvas: torch.Tensor, scale: int, timestep: torch.Tensor) -> torch.Tensor:
    """The outputs for every scale-th latent, from each of scale * scale starts, put back in their places, (C, h, w)."""
    crops = F.pixel_unshuffle(canvas[:, None], scale)  # (C, scale * scale, h, w)
    height, width = crops.shape[-2:]
    most = max(1, sampler.models.view_batch * sampler.models.view_latents**2 // (height * width))  # as much as so many views
    side, is_tall = max(height, width), height > width
    outputs = []
    for part in even_parts(list(range(scale**2)), most):
        # along the longer side, which is the window's
        beside = torch.cat([crops[:, start] for start in part], dim=1 if is_tall else 2)
        views = [(number * side, 0) if is_tall else (0, number * side) for number in range(len(part))]
        outputs.append(predict(sampler, repeat_view(dilated, views), beside, side, timestep))
    return F.pixel_shuffle(torch.cat(outputs).transpose(0, 1), scale)[:, 0]


def repeat_view(batch: Batch, views: list[View]) -> Batch:
    """The conditions of `batch`, which has one view, for each of `views`."""
    times = len(views)
    texts = [text for text in batch.texts for _ in views]  # all negative ones first, as in Batch
    time_ids = batch.time_ids.repeat_interleave(times, 0)
    return replace(batch, views=views, texts=texts, pose_embeddings=batch.pose_embeddings * times, time_ids=time_ids)


def jittered_views(height: int, width: int, window: int, random: np.random.Generator) -> list[View]:
    """Views half a window apart, each shifted by up to an eighth; those at a border stay there, so that all is covered."""
    reach = window // 8

    def shifted(start: int, last: int) -> int:
        return start if start in (0, last) else int(np.clip(start + random.integers(-reach, reach, endpoint=True), 0, last))

    rows, columns = positions(height, window, window // 2), positions(width, window, window // 2)
    return [(shifted(top, height - window), shifted(left, width - window)) for top in rows for left in columns]


def count_views(base: Size, factor: int, scale: int, window: int) -> int:
    """Evaluations of one step of a phase."""
    rows, columns = (positions(side * scale // factor, window, window // 2) for side in (base.height, base.width))
    return len(rows) * len(columns) + scale**2


def like(latents: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`latents` with the mean and deviation of `other`, which blur and averaging take away."""
    return (latents - latents.mean()) / latents.std() * other.std() + other.mean()


def blur(latents: torch.Tensor, sigma: float, side: int) -> torch.Tensor:
    """Gaussian blur over a square of `side` latents, with zeros beyond the border, as the authors'."""
    at = torch.arange(side, device=latents.device, dtype=latents.dtype) - side // 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(len(latents), 1, 1, side)
    rows = F.conv2d(latents[None], kernel, padding=(0, side // 2), groups=len(latents))
    return F.conv2d(rows, kernel.transpose(2, 3), padding=(side // 2, 0), groups=len(latents))[0]
