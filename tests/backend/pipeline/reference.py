"""diffusers' own pipelines over the networks of a model set, and what a network is given: the method is held against them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from beyondscene.backend.models.load import Models
from beyondscene.backend.pipeline.schedule import SCHEDULERS, SOLVER
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import Tensor, nn


def of_diffusers(kind: type[DiffusionPipeline], models: Models, solver: str = "ddim", **parts: Any) -> Any:
    """A pipeline of this kind with the base model as diffusers reads it from its files, in single precision.

    parts: what takes the place of its own. The types of what it returns depend on what it is asked, hence Any.
    """
    base = models.model_set.role_folder("base")
    kind_of_scheduler = (SCHEDULERS | {"ddim": DDIMScheduler})[solver]  # not our own
    pipeline = kind.from_pretrained(
        base,
        variant="fp16" if any(base.glob("unet/*.fp16.*")) else None,
        dtype=torch.float32,
        local_files_only=True,
        scheduler=kind_of_scheduler.from_config({"clip_sample": False} | models.scheduler_config | SOLVER.get(solver, {})),
        **parts,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def as_tensor(image: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) to float32 (1, 3, H, W) from 0 to 1, as diffusers takes pictures."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@dataclass(frozen=True)
class Call:
    """What a UNet or ControlNet was given: latents (B, C, h, w), the timestep and all that is named."""

    latents: Tensor
    timestep: float
    named: dict[str, Any]

    @property
    def time_ids(self) -> list[tuple[float, ...]]:
        """SDXL's size conditioning, six numbers a row."""
        return [tuple(row) for row in self.named["added_cond_kwargs"]["time_ids"].tolist()]


@contextmanager
def overhear(network: nn.Module) -> Iterator[list[Call]]:
    """Within, every call of `network` is written down."""
    calls: list[Call] = []

    def write_down(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append(Call(args[0].clone(), float(args[1]), named))

    hook = network.register_forward_pre_hook(write_down, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()
