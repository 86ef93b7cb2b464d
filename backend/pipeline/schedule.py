"""Schedulers, and the part of their timesteps that a stage runs."""

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from ..models.load import Models
from ..planning.plan import last_steps


class DDIM(DDIMScheduler):
    """From each timestep to the next of its list.

    diffusers' own takes steps of one length, whatever the list says, and ends in noise where they do not divide the training's.
    """

    def step(self, model_output: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        following = next((later for later in self.timesteps.tolist() if later < timestep), -1)
        # read only as the length of a step: so many such steps would make a schedule
        self.num_inference_steps = Fraction(self.config["num_train_timesteps"], int(timestep) - following)  # type: ignore
        return super().step(model_output, timestep, *args, **kwargs)


SCHEDULERS = {"ddim": DDIM, "euler": EulerDiscreteScheduler, "dpmsolver++": DPMSolverMultistepScheduler}
# What a config may have turned into another solver than its name says, one with noise of its own among them. SDXL's own has
# DDIM end at the noise of the first training step, 3 % of the picture's deviation, where the other solvers end at none unless
# a config says otherwise.
CLEAN = {"final_sigmas_type": "zero"}
SOLVER = {"ddim": {"set_alpha_to_one": True}, "euler": CLEAN, "dpmsolver++": {"algorithm_type": "dpmsolver++", **CLEAN}}
TRAILING = {"timestep_spacing": "trailing"}
# spacings that go before the timesteps', and which configs of many fine-tuned models have
OTHER_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
MOST_LEFT_OUT = 3  # steps' lengths between pure noise and where leading spacing may begin
Scheduler = DDIM | EulerDiscreteScheduler | DPMSolverMultistepScheduler

# where diffusers' schedulers keep what changes from step to step
COUNTS = ("_step_index", "lower_order_nums")
OUTPUTS = "model_outputs"


def make_scheduler(
    models: Models, name: str, steps: int, strength: float = 1.0, *, trailing: bool = False
) -> tuple[Scheduler, torch.Tensor]:
    """A fresh scheduler and the last int(steps * strength) of its timesteps, at least one, as in image-to-image.

    A model trained with zero terminal signal keeps its own schedule; only the solver is exchanged. The scheduler's own
    list stays whole: solvers with a memory look there for the end. The timesteps are in host memory, where looking one up does
    not wait for the device. trailing: spaced as LoRAs for few steps were trained, from pure noise on; so are steps that
    leading spacing, which rounds their length down, would begin far from there: 150 at timestep 895.
    """
    spacing = TRAILING | dict.fromkeys(OTHER_SPACINGS, False) if trailing else {}
    # where a config is silent, diffusers' DDIM clips what it predicts to the range of pixels, which ruins latents
    config = {"clip_sample": False} | models.scheduler_config | spacing | SOLVER[name]
    scheduler = SCHEDULERS[name].from_config(config)
    scheduler.set_timesteps(steps, device="cpu")
    if not begins_near_noise(scheduler):
        scheduler.register_to_config(**TRAILING)
        scheduler.set_timesteps(steps, device="cpu")
    skipped = steps - last_steps(steps, strength)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    return scheduler, scheduler.timesteps[skipped:]


def begins_near_noise(scheduler: Scheduler) -> bool:
    """Whether the first of its timesteps is at most MOST_LEFT_OUT mean steps before pure noise, and not behind it.

    The first step itself may be a short one: of beta sigmas it is half a timestep.
    """
    trained, count = scheduler.config["num_train_timesteps"], len(scheduler.timesteps)
    left_out = trained - float(scheduler.timesteps[0])
    return 0 < left_out <= MOST_LEFT_OUT * (trained / count if count > 1 else 1)


def add_noise(scheduler: Scheduler, clean: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """`clean` (C, h, w), as noisy as latents are before the step at `timestep`."""
    return scheduler.add_noise(clean[None], noise[None], timestep[None])[0]  # type: ignore[arg-type]


def scale_model_input(scheduler: Scheduler, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """`latents` (C, h, w), as the network wants to see them."""
    return scheduler.scale_model_input(latents[None], timestep)[0]  # type: ignore[arg-type]


def scheduler_step(scheduler: Scheduler, output: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """(C, h, w): the latents of the next timestep. output: of the network, for these."""
    return scheduler.step(output[None], timestep, latents[None], return_dict=False)[0][0]  # type: ignore[arg-type]


def state_arrays(scheduler: Scheduler) -> dict[str, np.ndarray]:
    """What a solver carries from one step to the next, as arrays; nothing for one without a memory."""
    memory = vars(scheduler)
    counts = {name: np.array(memory[name]) for name in COUNTS if memory.get(name) is not None}
    outputs = {f"{OUTPUTS}.{n}": output.cpu().numpy() for n, output in enumerate(memory.get(OUTPUTS, ())) if output is not None}
    return counts | outputs


def load_state_arrays(scheduler: Scheduler, arrays: dict[str, np.ndarray], device: torch.device) -> None:
    """Give a fresh scheduler what `state_arrays` has taken from another one with the same timesteps."""
    for name, array in arrays.items():
        if name in COUNTS:
            setattr(scheduler, name, int(array))
        elif name.startswith(OUTPUTS):
            getattr(scheduler, OUTPUTS)[int(name.rpartition(".")[2])] = torch.from_numpy(array).to(device)
