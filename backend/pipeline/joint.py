"""Joint diffusion: one canvas denoised through overlapping views (Algorithm 2).

The paper averages x_{t-1} over the views. For solvers whose step is affine in the network's output and whose views
agree on x_t, that is the same as averaging the output and taking one step of the whole canvas; so it is done here,
which also keeps solvers with a memory right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from ..models.load import Models
from ..models.loras import Worn
from ..planning.views import View, weigh_views
from .conditions import Condition
from .hints import Hint, read_poses, taking_hints
from .progress import Progress
from .prompts import Embedding, PromptEncoder
from .schedule import Scheduler, as_input, remember, remind, take_step
from .shard import add_over_devices, even_parts, my_share
from .shortcuts import Background, is_guided
from .texts import knowing_texts, stack_hidden


@dataclass(frozen=True)
class Job:
    """What is denoised and how.

    unet: the base model's, or an inpainting model's with five channels more (see `extra`).
    extra: (5, h, w) mask and masked latents that such a UNet sees beside the noisy ones, else None.
    controlnet_scale: 0 leaves the ControlNet out.
    guide_pose: whether the negative prompt goes without the pose, so that guidance points to both prompt and pose.
    view_weighting: how views that overlap are averaged, as in RenderSettings.
    canvas_px: height and width that views are told to be crops of ("canvas" conditioning, as DemoFusion does), or None:
        each view is told to be a whole picture of the training resolution.
    controlnet_views, guidance_interval, background_every: as in RenderSettings; the defaults leave nothing out.
    keep: called with (latents, index of the next timestep, or how many there are at the end) after each step; inpainting
        puts the known part back here.
    """

    models: Models
    unet: UNet2DConditionModel
    encoder: PromptEncoder
    scheduler: Scheduler
    timesteps: torch.Tensor
    guidance_scale: float
    controlnet_scale: float
    guide_pose: bool = False
    view_weighting: str = "uniform"
    canvas_px: tuple[int, int] | None = None
    extra: torch.Tensor | None = None
    controlnet_views: str = "all"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    background_every: int = 1
    keep: Callable[[torch.Tensor, int], torch.Tensor] = field(default=lambda latents, _: latents)


@dataclass(frozen=True)
class Batch:
    """Views that go through the network at once, and all that does not change from step to step.

    texts: one per view, or with guidance the negative ones and then the positive ones. Equal texts are one object, and hints
    stay in host memory: what a batch holds is small, so that a large canvas costs no more device memory than a small one.
    """

    views: list[View]
    texts: list[Embedding]
    hints: list[Hint]  # one per view; none without a ControlNet
    loras: Worn  # the same in all views
    time_ids: torch.Tensor  # float32 (texts, 6): half precision would round the crops of a large canvas
    empty: bool = False  # nobody is in any of its views, and the job tells such views apart


@torch.inference_mode()
def denoise(
    job: Job, latents: torch.Tensor, window: int, views: list[View], conditions: list[Condition], progress: Progress
) -> torch.Tensor:
    """Run the scheduler's timesteps on `latents` (4, h, w), float32 on the models' device; returns the clean ones.

    Steps that an earlier attempt has kept are not run again.
    """
    batches = list(make_batches(job, views, conditions, my_share))
    job.models.turns.begin(job.unet, job.models.controlnet)
    height, width = latents.shape[-2:]  # a single view may be larger than the canvas: it sees what there is
    weight = torch.from_numpy(weigh_views(window, job.view_weighting)[:height, :width]).to(latents.device)
    norm = cover(views, weight, height, width)
    always = [batch for batch in batches if not batch.empty or job.background_every == 1]
    at_times = [batch for batch in batches if batch.empty and job.background_every > 1]
    background = Background(job.scheduler, cover([view for batch in at_times for view in batch.views], weight, height, width))
    done, kept = progress.resume()
    if kept:
        latents = torch.from_numpy(kept.pop("latents")).to(latents.device)
        background.remind(kept)
        remind(job.scheduler, kept, latents.device)
    texts = (text for batch in batches for text in batch.texts)
    with knowing_texts((job.unet, job.models.controlnet), texts) as learn:
        for batch in batches:
            job.models.adapters.wear(batch.loras)
            learn(batch.texts)
        for index, timestep in enumerate(job.timesteps[done:], start=done):
            scaled = as_input(job.scheduler, latents, timestep)
            total = add_up(job, always, scaled, weight, window, timestep)
            if at_times and index % job.background_every == 0:
                total += background.learn(scaled, add_up(job, at_times, scaled, weight, window, timestep), timestep)
            elif at_times:
                total += background.guess(scaled, timestep)
            output = add_over_devices(total) / norm
            latents = take_step(job.scheduler, output, timestep, latents)
            latents = job.keep(latents, index + 1)
            progress.step(evaluations=len(views))
            progress.keep(
                lambda now=latents: {"latents": now.cpu().numpy(), **background.remember(), **remember(job.scheduler)}
            )
    return latents


def cover(views: list[View], weight: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """float32 (height, width): the sum of the weights of all views that a latent is in."""
    total = torch.zeros(height, width, device=weight.device)
    rows, columns = weight.shape
    for top, left in views:
        total[top : top + rows, left : left + columns] += weight
    return total


def add_up(
    job: Job, batches: list[Batch], scaled: torch.Tensor, weight: torch.Tensor, window: int, timestep: torch.Tensor
) -> torch.Tensor:
    """The weighted sum of the network's outputs for the views of `batches`, (4, h, w), gathered on the device."""
    total = torch.zeros_like(scaled)
    for batch in batches:
        for (top, left), output in zip(batch.views, predict(job, batch, scaled, window, timestep), strict=True):
            total[:, top : top + window, left : left + window] += output * weight
    return total


def predict(job: Job, batch: Batch, canvas: torch.Tensor, window: int, timestep: torch.Tensor) -> torch.Tensor:
    """The guided output of the network for the views of `batch`: float32 (views, 4, window, window).

    timestep: in host memory, where the scheduler looks at it; nothing in here waits for the device.
    """
    device, dtype = job.models.device, job.models.dtype
    job.models.check()
    job.models.adapters.wear(batch.loras)
    guided = is_guided(job.scheduler, job.guidance_interval, timestep)
    texts = batch.texts if guided else batch.texts[-len(batch.views) :]
    halves = len(texts) // len(batch.views)
    latents = crops(canvas, batch.views, window).to(dtype).repeat(halves, 1, 1, 1)
    timestep = timestep.to(device, non_blocking=True)
    down, mid = read_hints(job, batch, latents, texts, timestep) if batch.hints else (None, None)
    if job.extra is not None:
        latents = torch.cat([latents, crops(job.extra, batch.views, window).to(dtype).repeat(halves, 1, 1, 1)], 1)
    (output,) = job.unet(
        latents,
        timestep,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        **tell(job.unet, texts, batch.time_ids),
    )
    output = output.float()
    if halves == 1:
        return output
    negative, positive = output.chunk(2)
    return negative + job.guidance_scale * (positive - negative)


def read_hints(
    job: Job, batch: Batch, latents: torch.Tensor, texts: list[Embedding], timestep: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What the ControlNet adds to the UNet, a row per text; zeros for negative ones where these go without the pose."""
    posed = len(batch.views) if job.guide_pose else len(texts)
    hints = torch.stack([hint.to(latents, non_blocking=True) for hint in batch.hints])
    with taking_hints(job.models.controlnet):
        down, mid = job.models.controlnet(
            latents[-posed:],
            timestep,
            controlnet_cond=hints.repeat(posed // len(hints), 1, 1, 1),
            conditioning_scale=job.controlnet_scale,
            **tell(job.models.controlnet, texts[-posed:], batch.time_ids),
        )
    rows = len(texts) - posed
    if rows:
        down, mid = [with_zeros(residual, rows) for residual in down], with_zeros(mid, rows)
    return down, mid


def with_zeros(residual: torch.Tensor, rows: int) -> torch.Tensor:
    """`residual` (B, ...) after `rows` rows of zeros."""
    return torch.cat([residual.new_zeros(rows, *residual.shape[1:]), residual])


def tell(network: UNet2DConditionModel | ControlNetModel, texts: list[Embedding], time_ids: torch.Tensor) -> dict[str, Any]:
    """What UNet and ControlNet are told beside latents and time: the texts and, where they want them, sizes."""
    told: dict[str, Any] = {"encoder_hidden_states": stack_hidden(texts, network.dtype), "return_dict": False}
    if network.config["addition_embed_type"] == "text_time":  # SDXL; Stable Diffusion 1 and 2 are not told of sizes
        pooled = torch.stack([text.pooled for text in texts]).to(network.dtype)
        told["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids[-len(texts) :]}
    return told


def crops(canvas: torch.Tensor, views: list[View], window: int) -> torch.Tensor:
    return torch.stack([canvas[:, top : top + window, left : left + window] for top, left in views])


def make_batches(
    job: Job, views: list[View], conditions: list[Condition], share: Callable[[list[int]], list[int]] = list
) -> Iterator[Batch]:
    """Batches of views that wear the same LoRAs and whose prompts have the same number of chunks, so that none is padded.

    Where the job treats views without people in another way, they are not mixed with others. share: those of the views that
    are wanted, which lie side by side where they are alike; nothing is read or encoded for others.
    """
    job.models.turns.begin(job.models.controlnet)
    apart = job.controlnet_views == "with_people" or job.background_every > 1
    kinds = [(told.loras, chunks_of(job, told), apart and told.empty) for told in conditions]
    order = share(sorted(range(len(views)), key=kinds.__getitem__))
    to_read = [index for index in order if is_posed(job, conditions[index].empty)]
    read = read_poses(job.models.controlnet, [conditions[index].pose for index in to_read], job.models.device)
    hints = dict(zip(to_read, read, strict=True))
    most = job.models.view_batch
    for (loras, chunks, empty), group in groupby(order, key=kinds.__getitem__):
        job.models.adapters.wear(loras)
        for part in even_parts(list(group), most):
            told = [conditions[index] for index in part]
            texts = [job.encoder.encode(condition.prompt, chunks) for condition in told]
            if job.guidance_scale > 1:
                texts = [job.encoder.encode_negative(condition.negative_prompt, chunks) for condition in told] + texts
            seen = [views[index] for index in part]
            sizes = [size_conditioning(job, view) for view in seen] * (len(texts) // len(seen))
            yield Batch(
                views=seen,
                texts=texts,
                hints=[hints[index] for index in part if index in hints],
                loras=loras,
                time_ids=torch.tensor(sizes, device=job.models.device, dtype=torch.float32),
                empty=empty,
            )


def is_posed(job: Job, empty: bool) -> bool:
    """Whether the ControlNet sees a view. empty: as in Condition."""
    wanted = {"all": True, "with_people": not empty, "none": False}[job.controlnet_views]
    return wanted and job.controlnet_scale > 0


def chunks_of(job: Job, condition: Condition) -> int:
    """Of the longest text that is read; what nobody reads must not pad the other."""
    read = (condition.prompt, condition.negative_prompt) if job.guidance_scale > 1 else (condition.prompt,)
    return max(job.encoder.count_chunks(text) for text in read)


def size_conditioning(job: Job, view: View) -> tuple[int, ...]:
    """SDXL's size conditioning: original size, crop, target size."""
    if job.canvas_px is None:
        side = job.models.training_resolution_px
        return side, side, 0, 0, side, side
    height, width = job.canvas_px
    factor = job.models.latent_downsampling
    return height, width, view[0] * factor, view[1] * factor, height, width
