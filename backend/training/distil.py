"""Distil a LoRA that draws in a few steps without guidance what a model set draws in many with it.

The student's step is regressed onto where several small guided steps of the teacher lead from the same noisy latents:
progressive distillation (arXiv 2202.00512) and that of guidance (arXiv 2210.03142) in one round. The teacher's path has no
chance in it, so there is one right answer. Half of the batches start from noised renders, as at enlarged levels; in the
others, each view starts where the student's own steps from pure noise have led it, so that it learns to mend what it does.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from torch import Tensor, nn
from transformers import CLIPTokenizer

from ...protocol.whole import whole_file
from ..models.sets import Manifest
from ..pipeline.pose_embeddings import precomputed_pose_embeddings
from .checkpoints import Ema, Steps, half_precision, set_rate, step_random
from .denoiser import Denoiser, build_scheduler
from .latents import Batch, LatentSet, draw_batch, halve
from .under_way import Run

_STAGE = 5
# Those of LCM-LoRA (arXiv 2311.05556). The first convolution stays out of it, so that a LoRA fits inpainting UNets as well.
LAYERS = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj",
)  # fmt: skip


class DistilSettings(msgspec.Struct, frozen=True):
    """What is distilled and how."""

    jumps: int = 4  # steps of the student
    teacher_steps: int = 4  # in one jump
    rank: int = 6
    steps: int = 300
    learning_rate: float = 1e-3
    flat: float = 0.5  # share of the steps before the learning rate starts to fall
    batch: int = 8
    halved_share: float = 0.6  # of the batches: at half size, four times cheaper
    own_share: float = 0.5  # of the batches: starts on the student's own path
    ema_decay: float = 0.99


class Conditioning(msgspec.Struct, frozen=True):
    """What the networks are told of each view beside its noise, all but the timestep."""

    states: Tensor  # (B, tokens, channels)
    pooled: Tensor  # (B, channels)
    sizes: Tensor  # (B, 6)
    pose_embeddings: Tensor  # (B, channels, h, w), what the ControlNet reads off the poses
    posed: Tensor  # (B,), 0 where the ControlNet is left out


class Ladder:
    """The teacher's noise levels from pure noise to none, of which every `teacher_steps`-th is one of the student's."""

    def __init__(self, jumps: int, teacher_steps: int, device: torch.device) -> None:
        scheduler = build_scheduler()
        scheduler.set_timesteps(jumps * teacher_steps, device)
        self.timesteps = scheduler.timesteps
        signal = torch.cat([scheduler.alphas_cumprod.to(device)[self.timesteps], torch.ones(1, device=device)]).sqrt()
        self.angles = signal.clamp(0, 1).acos()
        self.teacher_steps = teacher_steps

    def add_noise(self, clean: Tensor, noise: Tensor, rung: Tensor) -> Tensor:
        angle = _wide(self.angles[rung])
        return angle.cos() * clean + angle.sin() * noise

    def step(self, noisy: Tensor, velocity: Tensor, rung: Tensor, rungs: int) -> Tensor:
        """A step of DDIM over `rungs`: latents are cos clean + sin noise at an angle, and the velocity is their slope."""
        turn = _wide(self.angles[rung] - self.angles[rung + rungs])
        return turn.cos() * noisy - turn.sin() * velocity

    def velocity(self, noisy: Tensor, reached: Tensor, rung: Tensor, rungs: int) -> Tensor:
        """The velocity with which such a step leads from `noisy` to `reached`."""
        turn = _wide(self.angles[rung] - self.angles[rung + rungs])
        return (turn.cos() * noisy - reached) / turn.sin()


def distil(
    run: Run, data: LatentSet, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], teacher: Denoiser, settings: DistilSettings,
    manifest: Manifest, milestone: Callable[[dict[str, Tensor]], None],
) -> dict[str, Tensor]:  # fmt: skip
    """Return the averaged LoRA, as peft names its tensors.

    manifest: of the teacher, which says how it is guided.
    milestone: called with the LoRA at each checkpoint but that of the last step.
    """
    torch.manual_seed(run.seed)
    teacher.to(run.device).eval().requires_grad_(False)
    student = add_lora(teacher.unet, settings.rank)
    layers = lora_layers(student)
    optimizer = torch.optim.AdamW(layers.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    ema = Ema(layers, settings.ema_decay)
    ladder = Ladder(settings.jumps, settings.teacher_steps, run.device)

    def average() -> dict[str, Tensor]:
        averaged = copy.deepcopy(student)
        ema.copy_to(lora_layers(averaged))
        return get_peft_model_state_dict(averaged, adapter_name="default")

    left = Steps(run, "few_steps", layers, ema, optimizer, settings.steps, 100, lambda: milestone(average()))
    for step in left:
        numbers, noise = step_random(run, _STAGE, step)
        batch = _draw(data, tokenizers, settings, manifest.pose_line_width_px, numbers).to(run.device)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=20, flat=settings.flat)
        with half_precision(run.device):
            conditioning = condition(teacher, batch)
            start, rung = _start(teacher.controlnet, student, batch, conditioning, ladder, settings, numbers, noise)
            target = _follow(teacher, start, rung, conditioning, ladder, manifest)
        with half_precision(run.device):  # anew, since torch before 2.11 would take weights that it rounded without gradients
            predicted = predict(teacher.controlnet, student, start, ladder.timesteps[rung], conditioning)
        error = (predicted.float() - ladder.velocity(start, target, rung, settings.teacher_steps)).square()
        loss = (batch.weights * error).mean()
        left.learn(loss)
        if (step + 1) % 10 == 0:
            run.report({"stage": "few-steps", "step": step + 1, "of": settings.steps, "loss": float(loss.detach())})
    return average()


def add_lora(unet: UNet2DConditionModel, rank: int) -> UNet2DConditionModel:
    """A copy of `unet` with a LoRA to train; it does nothing yet."""
    student = copy.deepcopy(unet)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS)), student)
    return student


def lora_layers(unet: UNet2DConditionModel) -> nn.ParameterDict:
    """The parameters of its LoRA alone; they are the same objects."""
    return nn.ParameterDict({name.replace(".", "/"): p for name, p in unet.named_parameters() if "lora_" in name})


def save_lora(layers: dict[str, Tensor], path: Path) -> None:
    """Write what `distil` returns as the hub's LoRAs are written, in half precision."""
    halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in layers.items()}
    with whole_file(path) as partial:
        StableDiffusionXLPipeline.save_lora_weights(
            partial.parent, unet_lora_layers=cast(dict[str, Tensor | nn.Module], halves), weight_name=partial.name
        )


@torch.no_grad()
def condition(teacher: Denoiser, batch: Batch) -> Conditioning:
    """Encode captions and poses. All views have their text, and those with people their pose, as they have in use."""
    states, pooled = teacher.text(batch.tokens)
    posed = torch.maximum(batch.kept_pose, (batch.people.flatten(1).amax(1) > 0).to(batch.kept_pose))
    pose_embeddings = teacher.controlnet.controlnet_cond_embedding(batch.poses.float() / 255)
    return Conditioning(states=states, pooled=pooled, sizes=batch.sizes, pose_embeddings=pose_embeddings, posed=posed)


def predict(
    controlnet: ControlNetModel,
    unet: UNet2DConditionModel,
    noisy: Tensor,
    timesteps: Tensor,
    conditioning: Conditioning,
    guided: bool = False,
) -> Tensor:
    """The velocity, (B, 4, h, w); where guided, after as many rows without text and pose."""
    with torch.no_grad(), precomputed_pose_embeddings(controlnet):
        added = {"text_embeds": conditioning.pooled, "time_ids": conditioning.sizes}
        down, middle = controlnet(
            noisy, timesteps, conditioning.states, conditioning.pose_embeddings, added_cond_kwargs=added, return_dict=False
        )
        residuals = [_wide(conditioning.posed) * one for one in (*down, middle)]
    states, pooled, sizes = conditioning.states, conditioning.pooled, conditioning.sizes
    if guided:
        residuals = [torch.cat([torch.zeros_like(one), one]) for one in residuals]
        states, pooled = (torch.cat([torch.zeros_like(one), one]) for one in (states, pooled))
        noisy, timesteps, sizes = (torch.cat([one, one]) for one in (noisy, timesteps, sizes))
    return unet(
        noisy, timesteps, states, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
        down_block_additional_residuals=residuals[:-1], mid_block_additional_residual=residuals[-1], return_dict=False,
    )[0]  # fmt: skip


def _draw(
    data: LatentSet, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], settings: DistilSettings, line_width_px: int,
    numbers: np.random.Generator,
) -> Batch:  # fmt: skip
    halved = numbers.random() < settings.halved_share
    batch = draw_batch(data, tokenizers, numbers, settings.batch, data.latents.shape[-1], line_width_px)
    return halve(batch) if halved else batch


@torch.no_grad()
def _start(
    controlnet: ControlNetModel, student: UNet2DConditionModel, batch: Batch, conditioning: Conditioning, ladder: Ladder,
    settings: DistilSettings, numbers: np.random.Generator, noise: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Noisy latents and the rung that each view stands on."""
    jumps = (np.arange(settings.batch) + numbers.random()) / settings.batch * settings.jumps  # each as often as any other
    rung = settings.teacher_steps * torch.from_numpy(jumps.astype(np.int64)).to(batch.latents.device)
    epsilon = torch.randn(batch.latents.shape, generator=noise, device=batch.latents.device)
    if numbers.random() >= settings.own_share:
        return ladder.add_noise(batch.latents, epsilon, rung), rung
    noisy = epsilon
    for jump in range(settings.jumps - 1):
        here = torch.full_like(rung, jump * settings.teacher_steps)
        velocity = predict(controlnet, student, noisy, ladder.timesteps[here], conditioning).float()
        noisy = torch.where(_wide(rung > here), ladder.step(noisy, velocity, here, settings.teacher_steps), noisy)
    return noisy, rung


@torch.no_grad()
def _follow(
    teacher: Denoiser, noisy: Tensor, rung: Tensor, conditioning: Conditioning, ladder: Ladder, manifest: Manifest
) -> Tensor:
    """Where the teacher's guided steps lead within one jump; guidance points to pose and prompt, as with `guide_pose`."""
    for _ in range(ladder.teacher_steps):
        rows = predict(teacher.controlnet, teacher.unet, noisy, ladder.timesteps[rung], conditioning, guided=True)
        negative, positive = rows.float().chunk(2)
        noisy = ladder.step(noisy, negative + manifest.guidance_scale * (positive - negative), rung, 1)
        rung = rung + 1
    return noisy


def _wide(values: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return values[:, None, None, None]
