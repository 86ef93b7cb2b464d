"""Joint diffusion: one canvas denoised through overlapping views (Algorithm 2).

The paper averages x_{t-1} over the views. For solvers whose step is affine in the network's output and whose views
agree on x_t, that is the same as averaging the output and taking one step of the whole canvas; so it is done here,
which also keeps solvers with a memory right. `bench/plain.py` is the same loop without batches, caches, shards and checkpoints.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from ..models.union import AnyControlNet
from ..planning.views import View, weigh_views
from ..watch import Arrays
from .batches import Batch, make_batches
from .conditions import Condition
from .pose_embeddings import precomputed_pose_embeddings
from .progress import StageProgress
from .prompts import Embedding
from .sampler import Sampler
from .schedule import load_state_arrays, scale_model_input, scheduler_step, state_arrays
from .shard import all_reduce_sum, my_shard
from .shortcuts import Background, is_guided
from .text_attention import knowing_texts, stack_hidden


@torch.inference_mode()
def denoise(
    sampler: Sampler,
    begin: Callable[[], torch.Tensor],
    window: int,
    views: list[View],
    conditions: list[Condition],
    stage: StageProgress,
) -> torch.Tensor:
    """The clean latents: what `begin` returns after the scheduler's timesteps, float32 (C, h, w) on the models' device.

    window: side of a view, in latents. Steps that an earlier attempt has kept are not run again, nor is `begin` called then.
    """
    done, kept = stage.resume()
    latents = torch.from_numpy(kept.pop("latents")).to(sampler.models.device) if kept else begin()
    batches = list(make_batches(sampler, views, conditions, my_shard))
    sampler.models.placement.bring(sampler.unet, sampler.models.controlnet)
    height, width = latents.shape[-2:]  # a single view may be larger than the canvas: it sees what there is
    weight = torch.from_numpy(weigh_views(window, sampler.view_weighting)[:height, :width]).to(latents.device)
    norm = sum_view_weights(views, weight, height, width)
    every_step, background = split_background(sampler, batches, weight, window, height, width)
    load_state(sampler, background, kept)
    with knowing_batches(sampler, batches):
        for index, timestep in enumerate(sampler.timesteps[done:], start=done):
            scaled = scale_model_input(sampler.scheduler, latents, timestep)
            total = add_up(sampler, every_step, scaled, weight, window, timestep)
            if background is not None:
                total += background.add_up(scaled, timestep, index)
            output = all_reduce_sum(total) / norm
            latents = scheduler_step(sampler.scheduler, output, timestep, latents)
            latents = sampler.after_step(latents, index + 1)
            stage.step(evaluations=len(views))
            stage.checkpoint(partial(gather_state, sampler, latents, background))
    sampler.encoder.forget()
    return latents


@contextmanager
def knowing_batches(sampler: Sampler, batches: list[Batch]) -> Iterator[None]:
    """Within, cross-attention has at hand what it makes of the texts of `batches`, and counts HcP layers; see knowing_texts."""
    texts = (text for batch in batches for text in batch.texts)
    with knowing_texts((sampler.unet, sampler.models.controlnet), texts, sampler.hcp_scale) as project:
        with torch.inference_mode():
            for batch in batches:
                sampler.models.adapters.activate(batch.loras)
                project(batch.texts)
        yield


def split_background(
    sampler: Sampler, batches: list[Batch], weight: torch.Tensor, window: int, height: int, width: int
) -> tuple[list[Batch], Background | None]:
    """The batches that run at every step, and what stands for the others where the sampler leaves these out of some."""
    seldom = [batch for batch in batches if batch.empty] if sampler.background_every > 1 else []
    if not seldom:
        return batches, None

    def run(scaled: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return add_up(sampler, seldom, scaled, weight, window, timestep)

    covered = sum_view_weights([view for batch in seldom for view in batch.views], weight, height, width)
    background = Background(sampler.scheduler, covered, run, sampler.background_every)
    return [batch for batch in batches if not batch.empty], background


def load_state(sampler: Sampler, background: Background | None, kept: Arrays) -> None:
    """Scheduler and background become what they were when `gather_state` took `kept`; nothing where that is empty."""
    if background is not None:
        background.load_state_arrays(kept)
    load_state_arrays(sampler.scheduler, kept, sampler.models.device)


def gather_state(sampler: Sampler, latents: torch.Tensor, background: Background | None) -> Arrays:
    """What another attempt goes on from: the latents, and what `load_state` takes."""
    seldom = {} if background is None else background.state_arrays()
    return {"latents": latents.cpu().numpy(), **seldom, **state_arrays(sampler.scheduler)}


def sum_view_weights(views: list[View], weight: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """float32 (height, width): the sum of the weights of all views that a latent is in."""
    total = torch.zeros(height, width, device=weight.device)
    rows, columns = weight.shape
    for top, left in views:
        total[top : top + rows, left : left + columns] += weight
    return total


def add_up(
    sampler: Sampler, batches: list[Batch], scaled: torch.Tensor, weight: torch.Tensor, window: int, timestep: torch.Tensor
) -> torch.Tensor:
    """The weighted sum of the network's outputs for the views of `batches`, float32 (C, h, w), gathered on the device.

    scaled: float32 (C, h, w), the canvas as the network wants to see it. weight: float32, of a view's latents.
    timestep: as of `predict`.
    """
    total = torch.zeros_like(scaled)
    for batch in batches:
        for (top, left), output in zip(batch.views, predict(sampler, batch, scaled, window, timestep), strict=True):
            total[:, top : top + window, left : left + window] += output * weight
    return total


def predict(sampler: Sampler, batch: Batch, canvas: torch.Tensor, window: int, timestep: torch.Tensor) -> torch.Tensor:
    """The guided output of the network for the views of `batch`: float32 (views, C, window, window).

    timestep: in host memory, where the scheduler looks at it; nothing in here waits for the device.
    """
    device, dtype = sampler.models.device, sampler.models.dtype
    sampler.models.check()
    sampler.models.adapters.activate(batch.loras)
    guided = is_guided(sampler.scheduler, sampler.guidance_interval, timestep)
    texts = batch.texts if guided else batch.texts[-len(batch.views) :]
    halves = len(texts) // len(batch.views)
    latents = crops(canvas, batch.views, window).to(dtype).repeat(halves, 1, 1, 1)
    timestep = timestep.to(device, non_blocking=True)
    down, mid = run_controlnet(sampler, batch, latents, texts, timestep) if batch.pose_embeddings else (None, None)
    if sampler.extra is not None:
        latents = torch.cat([latents, crops(sampler.extra, batch.views, window).to(dtype).repeat(halves, 1, 1, 1)], 1)
    (output,) = sampler.unet(
        latents,
        timestep,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        **conditioning_kwargs(sampler.unet, texts, batch.time_ids, dtype),
    )
    output = output.float()
    if halves == 1:
        return output
    negative, positive = output.chunk(2)
    return negative + sampler.guidance_scale * (positive - negative)


def run_controlnet(
    sampler: Sampler, batch: Batch, latents: torch.Tensor, texts: list[Embedding], timestep: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What the ControlNet adds to the UNet, a row per text; zeros for negative ones where these go without the pose."""
    posed = len(batch.views) if sampler.guide_pose else len(texts)
    pose_embeddings = torch.stack([embedding.to(latents, non_blocking=True) for embedding in batch.pose_embeddings])
    with precomputed_pose_embeddings(sampler.models.controlnet):
        down, mid = sampler.models.controlnet(
            latents[-posed:],
            timestep,
            controlnet_cond=pose_embeddings.repeat(posed // len(pose_embeddings), 1, 1, 1),
            conditioning_scale=sampler.controlnet_scale,
            **conditioning_kwargs(sampler.models.controlnet, texts[-posed:], batch.time_ids, latents.dtype),
        )
    rows = len(texts) - posed
    if rows:
        down, mid = [with_zeros(residual, rows) for residual in down], with_zeros(mid, rows)
    return down, mid


def with_zeros(residual: torch.Tensor, rows: int) -> torch.Tensor:
    """`residual` (B, ...) after `rows` rows of zeros."""
    return torch.cat([residual.new_zeros(rows, *residual.shape[1:]), residual])


def conditioning_kwargs(
    network: UNet2DConditionModel | AnyControlNet, texts: list[Embedding], time_ids: torch.Tensor, dtype: torch.dtype
) -> dict[str, Any]:
    """What UNet and ControlNet are told beside latents and time: the texts and, where they want them, sizes.

    texts: one per row, with equally many chunks. time_ids: float32 (rows or more, 6), of which the last ones are taken.
    dtype: of the network.
    """
    kwargs: dict[str, Any] = {"encoder_hidden_states": stack_hidden(texts, dtype), "return_dict": False}
    if network.config["addition_embed_type"] == "text_time":  # SDXL; Stable Diffusion 1 and 2 are not told of sizes
        pooled = torch.stack([text.pooled for text in texts]).to(dtype)
        kwargs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids[-len(texts) :]}
    return kwargs


def crops(canvas: torch.Tensor, views: list[View], window: int) -> torch.Tensor:
    """(views, C, window, window) of a canvas (C, h, w); less where it is smaller than a view."""
    return torch.stack([canvas[:, top : top + window, left : left + window] for top, left in views])
