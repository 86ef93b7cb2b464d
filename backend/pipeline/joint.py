"""Joint diffusion: one canvas denoised through overlapping views (Algorithm 2).

The paper averages x_{t-1} over the views. For solvers whose step is affine in the network's output and whose views
agree on x_t, that is the same as averaging the output and taking one step of the whole canvas; so it is done here,
which also keeps solvers with a memory right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import torch
from diffusers import UNet2DConditionModel

from ..models.load import Models
from .conditions import Condition
from .hints import Hint, read_poses, taking_hints
from .progress import Progress
from .prompts import Embedding, PromptEncoder
from .schedule import Scheduler, remember, remind
from .views import View, weigh_views


@dataclass(frozen=True)
class Job:
    """What is denoised and how.

    unet: the base model's, or an inpainting model's with five channels more (see `extra`).
    extra: (5, h, w) mask and masked latents that such a UNet sees beside the noisy ones, else None.
    controlnet_scale: 0 leaves the ControlNet out.
    view_weighting: how views that overlap are averaged, as in RenderSettings.
    canvas_px: height and width that views are told to be crops of ("canvas" conditioning, as DemoFusion does), or None:
        each view is told to be a whole picture of the training resolution.
    keep: called with (latents, index of the next timestep or None at the end) after each step; inpainting puts the
        known part back here.
    """

    models: Models
    unet: UNet2DConditionModel
    encoder: PromptEncoder
    scheduler: Scheduler
    timesteps: torch.Tensor
    guidance_scale: float
    controlnet_scale: float
    view_weighting: str = "uniform"
    canvas_px: tuple[int, int] | None = None
    extra: torch.Tensor | None = None
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
    time_ids: torch.Tensor  # (texts, 6)


@torch.inference_mode()
def denoise(
    job: Job, latents: torch.Tensor, window: int, views: list[View], conditions: list[Condition], progress: Progress
) -> torch.Tensor:
    """Run the scheduler's timesteps on `latents` (4, h, w), float32 on the models' device; returns the clean ones.

    Steps that an earlier attempt has kept are not run again.
    """
    batches = list(make_batches(job, views, conditions))
    height, width = latents.shape[-2:]  # a single view may be larger than the canvas: it sees what there is
    weight = torch.from_numpy(weigh_views(window, job.view_weighting)[:height, :width]).to(latents.device)
    norm = torch.zeros(height, width, device=latents.device)
    for top, left in views:
        norm[top : top + window, left : left + window] += weight
    done, kept = progress.resume()
    if kept:
        latents = torch.from_numpy(kept.pop("latents")).to(latents.device)
        remind(job.scheduler, kept, latents.device)
    for index, timestep in enumerate(job.timesteps[done:], start=done):
        scaled = job.scheduler.scale_model_input(latents[None], timestep)[0]  # type: ignore[arg-type]
        total = torch.zeros_like(latents)
        for batch in batches:
            outputs = predict(job, batch, scaled, window, timestep)
            for (top, left), output in zip(batch.views, outputs, strict=True):
                total[:, top : top + window, left : left + window] += output * weight
        latents = job.scheduler.step((total / norm)[None], timestep, latents[None], return_dict=False)[0][0]  # type: ignore[arg-type]
        latents = job.keep(latents, index + 1)
        progress.step(evaluations=len(views))
        progress.keep(lambda now=latents: {"latents": now.cpu().numpy(), **remember(job.scheduler)})
    return latents


def predict(job: Job, batch: Batch, canvas: torch.Tensor, window: int, timestep: torch.Tensor) -> torch.Tensor:
    """The guided output of the network for the views of `batch`: float32 (views, 4, window, window)."""
    dtype = job.models.dtype
    halves = len(batch.texts) // len(batch.views)
    latents = crops(canvas, batch.views, window).to(dtype).repeat(halves, 1, 1, 1)
    pooled = torch.stack([text.pooled for text in batch.texts]).to(dtype)
    common = {
        "encoder_hidden_states": torch.stack([text.hidden for text in batch.texts]).to(dtype),
        "added_cond_kwargs": {"text_embeds": pooled, "time_ids": batch.time_ids},
        "return_dict": False,
    }
    down, mid = None, None
    if batch.hints:
        hints = torch.stack(batch.hints).to(job.models.device, dtype, non_blocking=True).repeat(halves, 1, 1, 1)
        with taking_hints(job.models.controlnet):
            down, mid = job.models.controlnet(
                latents, timestep, controlnet_cond=hints, conditioning_scale=job.controlnet_scale, **common
            )
    if job.extra is not None:
        latents = torch.cat([latents, crops(job.extra, batch.views, window).to(dtype).repeat(halves, 1, 1, 1)], 1)
    (output,) = job.unet(latents, timestep, down_block_additional_residuals=down, mid_block_additional_residual=mid, **common)
    output = output.float()
    if halves == 1:
        return output
    negative, positive = output.chunk(2)
    return negative + job.guidance_scale * (positive - negative)


def crops(canvas: torch.Tensor, views: list[View], window: int) -> torch.Tensor:
    return torch.stack([canvas[:, top : top + window, left : left + window] for top, left in views])


def make_batches(job: Job, views: list[View], conditions: list[Condition]) -> Iterator[Batch]:
    """Batches of views whose prompts have the same number of chunks, so that no prompt is padded for another's sake."""
    poses = [condition.pose for condition in conditions] if job.controlnet_scale > 0 else []
    hints = read_poses(job.models.controlnet, poses, job.models.device)
    lengths = [chunks_of(job.encoder, condition) for condition in conditions]
    order = sorted(range(len(views)), key=lengths.__getitem__)
    for chunks, group in groupby(order, key=lengths.__getitem__):
        alike = list(group)
        for start in range(0, len(alike), job.models.thrift.view_batch):
            part = alike[start : start + job.models.thrift.view_batch]
            told = [conditions[index] for index in part]
            texts = [job.encoder.encode(condition.prompt, chunks) for condition in told]
            if job.guidance_scale > 1:
                texts = [job.encoder.encode_negative(condition.negative_prompt, chunks) for condition in told] + texts
            seen = [views[index] for index in part]
            sizes = [size_conditioning(job, view) for view in seen] * (len(texts) // len(seen))
            yield Batch(
                views=seen,
                texts=texts,
                hints=[hints[index] for index in part] if hints else [],
                time_ids=torch.tensor(sizes, device=job.models.device, dtype=job.models.dtype),
            )


def chunks_of(encoder: PromptEncoder, condition: Condition) -> int:
    return max(encoder.encode(condition.prompt).chunks, encoder.encode(condition.negative_prompt).chunks)


def size_conditioning(job: Job, view: View) -> tuple[int, ...]:
    """SDXL's size conditioning: original size, crop, target size."""
    if job.canvas_px is None:
        side = job.models.training_resolution_px
        return side, side, 0, 0, side, side
    height, width = job.canvas_px
    factor = job.models.latent_downsampling
    return height, width, view[0] * factor, view[1] * factor, height, width
