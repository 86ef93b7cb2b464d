"""Schedulers, and the part of their timesteps that a stage runs."""

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from ..models.load import Models

SCHEDULERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpmsolver++": DPMSolverMultistepScheduler}
Scheduler = DDIMScheduler | EulerDiscreteScheduler | DPMSolverMultistepScheduler


def make_scheduler(models: Models, name: str, steps: int, strength: float = 1.0) -> tuple[Scheduler, torch.Tensor]:
    """A fresh scheduler and the last int(steps * strength) of its timesteps, as in image-to-image.

    A model trained with zero terminal signal keeps its own schedule; only the solver is exchanged. The scheduler's own
    list stays whole: solvers with a memory look there for the end.
    """
    scheduler = SCHEDULERS[name].from_config(models.scheduler_config)
    scheduler.set_timesteps(steps, device=models.device)
    skipped = (steps - max(1, min(steps, int(steps * strength + 1e-9)))) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    return scheduler, scheduler.timesteps[skipped:]
