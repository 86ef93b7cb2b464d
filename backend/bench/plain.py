"""Joint diffusion done plainly: the same picture as `pipeline.joint` makes, by the loop of MultiDiffusion's authors.

One view at a time, its negative and positive prompt as a batch of two; the ControlNet reads the pose picture at every step.
Texts are encoded once, as there. It is what the pipeline's own loop is measured against, and tested against.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

import torch

from ..pipeline.batches import chunks_of, size_conditioning
from ..pipeline.conditions import Condition
from ..pipeline.joint import conditioning_kwargs, with_zeros
from ..pipeline.progress import StageProgress
from ..pipeline.sampler import Sampler
from ..pipeline.schedule import scale_model_input, scheduler_step
from ..pipeline.text_attention import knowing_texts
from ..planning.views import View, weigh_views
from .count import replaced

STAGES = ("instances", "inpaint", "enlarge")  # files of the pipeline that denoise


@contextmanager
def drawing_plainly() -> Iterator[None]:
    """Within, all stages of the pipeline denoise by `denoise_plainly`."""
    with ExitStack() as stack:
        for stage in STAGES:
            stack.enter_context(replaced(import_module(f"...pipeline.{stage}", __name__), "denoise", denoise_plainly))
        yield


@torch.inference_mode()
def denoise_plainly(
    sampler: Sampler,
    begin: Callable[[], torch.Tensor],
    window: int,
    views: list[View],
    conditions: list[Condition],
    stage: StageProgress,
) -> torch.Tensor:
    """As `joint.denoise`, without keeping anything for another attempt."""
    latents = begin()
    height, width = latents.shape[-2:]
    weight = torch.from_numpy(weigh_views(window, sampler.view_weighting)[:height, :width]).to(latents.device)
    for index, timestep in enumerate(sampler.timesteps):
        scaled = scale_model_input(sampler.scheduler, latents, timestep)
        total, norm = torch.zeros_like(latents), torch.zeros_like(latents[0])
        for view, condition in zip(views, conditions, strict=True):
            rows, columns = slice(view[0], view[0] + window), slice(view[1], view[1] + window)
            seen = scaled[:, rows, columns]
            extra = None if sampler.extra is None else sampler.extra[:, rows, columns]
            total[:, rows, columns] += predict_view(sampler, view, condition, seen, extra, timestep) * weight
            norm[rows, columns] += weight
        latents = scheduler_step(sampler.scheduler, total / norm, timestep, latents)
        latents = sampler.after_step(latents, index + 1)
        stage.step(evaluations=len(views))
    return latents


def predict_view(
    sampler: Sampler, view: View, condition: Condition, seen: torch.Tensor, extra: torch.Tensor | None, timestep: torch.Tensor
) -> torch.Tensor:
    """The guided output of the network for one view: float32 (C, h, w). seen: the latents in it; extra: as in Sampler."""
    models, dtype = sampler.models, sampler.models.dtype
    chunks = chunks_of(sampler, condition)
    texts = [sampler.encoder.encode(condition.prompt, chunks)]
    if sampler.guidance_scale > 1:
        texts.insert(0, sampler.encoder.encode_negative(condition.negative_prompt, chunks))
    timestep = timestep.to(seen.device)
    time_ids = torch.tensor([size_conditioning(sampler, view)] * len(texts), device=seen.device, dtype=torch.float32)
    latents = seen.to(dtype).expand(len(texts), *seen.shape)
    down, mid = None, None
    if sampler.controlnet_scale > 0:
        posed = 1 if sampler.guide_pose else len(texts)
        pose = torch.from_numpy(condition.pose()).permute(2, 0, 1).to(seen.device, dtype) / 255
        down, mid = models.controlnet(
            latents[-posed:],
            timestep,
            controlnet_cond=pose.expand(posed, *pose.shape),
            conditioning_scale=sampler.controlnet_scale,
            **conditioning_kwargs(models.controlnet, texts[-posed:], time_ids, dtype),
        )
        if posed < len(texts):
            down, mid = [with_zeros(residual, 1) for residual in down], with_zeros(mid, 1)
    if extra is not None:
        latents = torch.cat([latents, extra.to(dtype).expand(len(texts), *extra.shape)], 1)
    kwargs = conditioning_kwargs(sampler.unet, texts, time_ids, dtype)
    # diffusers' own processors know nothing of HcP layers
    with knowing_texts([sampler.unet] if sampler.hcp_scale else [], texts, sampler.hcp_scale) as project:
        project(texts)
        (output,) = sampler.unet(
            latents, timestep, down_block_additional_residuals=down, mid_block_additional_residual=mid, **kwargs
        )
    output = output.float()
    return output[0] if len(texts) == 1 else output[0] + sampler.guidance_scale * (output[1] - output[0])
