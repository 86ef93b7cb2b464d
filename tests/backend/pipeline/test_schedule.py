"""Whatever the solver, the spacing and the number of steps, noise is taken from its beginning to its end."""

import dataclasses
from typing import Any, get_args

import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline.schedule import SCHEDULERS, add_noise, make_scheduler, scale_model_input, scheduler_step
from beyondscene.backend.pipeline.seeds import draw_noise
from beyondscene.protocol.settings import Solver
from diffusers import DDIMScheduler, EulerDiscreteScheduler

SDXL = {"timestep_spacing": "leading", "steps_offset": 1}
NOISY_END = SDXL | {"final_sigmas_type": "sigma_min"}
EMBEDDED = {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("strength", [0.7, 1.0])
@pytest.mark.parametrize("steps", [4, 7, 15, 24, 60, 600])
@pytest.mark.parametrize("config", [SDXL, NOISY_END, EMBEDDED], ids=["sdxl", "noisy end", "embedded"])
@pytest.mark.parametrize("solver", SCHEDULERS)
def test_a_network_that_is_never_wrong_ends_at_the_picture(
    models: Models, solver: str, config: dict[str, Any], steps: int, strength: float
) -> None:
    models = dataclasses.replace(models, scheduler_config=models.scheduler_config | config)
    scheduler, timesteps = make_scheduler(models, solver, steps, strength)
    clean, noise = draw_noise(0, "picture", (4, 8, 8)), draw_noise(0, "noise", (4, 8, 8))
    latents = add_noise(scheduler, clean, noise, timesteps[0])
    for timestep in timesteps:
        alpha = scheduler.alphas_cumprod[round(float(timestep))]
        signal, deviation = alpha.sqrt(), (1 - alpha).sqrt()
        noise_now = (scale_model_input(scheduler, latents, timestep) - signal * clean) / deviation
        velocity = signal * noise_now - deviation * clean
        output = velocity if "prediction_type" in config else noise_now
        latents = scheduler_step(scheduler, output, timestep, latents)
    assert (latents - clean).std() < 1e-3


@pytest.mark.parametrize("steps", [4, 10, 20, 50])
@pytest.mark.parametrize("config", [SDXL, EMBEDDED], ids=["sdxl", "embedded"])
def test_steps_that_divide_the_trainings_are_diffusers_own(models: Models, config: dict[str, Any], steps: int) -> None:
    models = dataclasses.replace(models, scheduler_config=models.scheduler_config | config)
    ours, timesteps = make_scheduler(models, "ddim", steps)
    theirs: Any = DDIMScheduler.from_config(dict(ours.config))
    theirs.set_timesteps(steps)
    latents, output = draw_noise(0, "latents", (1, 4, 8, 8)), draw_noise(0, "output", (1, 4, 8, 8))
    assert torch.equal(timesteps, theirs.timesteps)
    for timestep in timesteps:
        a, b = (one.step(output, timestep, latents, return_dict=False)[0] for one in (ours, theirs))
        assert torch.equal(a, b)


@pytest.mark.parametrize("solver", get_args(Solver))
def test_people_who_are_drawn_from_pure_noise_begin_near_it(models: Models, solver: str) -> None:
    """Leading spacing rounds the length of a step down: 150 would begin at 895, 600 at 600."""
    for steps in (1, 20, 50, 60, 150, 334, 600, 999):
        _, timesteps = make_scheduler(models, solver, steps)
        assert len(timesteps) == steps and 940 < float(timesteps[0]) < 1000


@pytest.mark.parametrize(("spacing", "steps"), [("use_karras_sigmas", 48), ("use_beta_sigmas", 20), ("use_beta_sigmas", 50)])
def test_models_whose_steps_are_short_at_first_keep_their_own(models: Models, spacing: str, steps: int) -> None:
    models = dataclasses.replace(models, scheduler_config=models.scheduler_config | SDXL | {spacing: True})
    scheduler, timesteps = make_scheduler(models, "euler", steps)
    theirs: Any = EulerDiscreteScheduler.from_config(models.scheduler_config)
    theirs.set_timesteps(steps)
    assert torch.equal(timesteps, theirs.timesteps) and torch.equal(scheduler.sigmas, theirs.sigmas)


@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"])
@pytest.mark.parametrize("solver", SCHEDULERS)
def test_few_steps_are_spaced_as_their_lora_was_trained_whatever_the_models_own(
    models: Models, solver: str, spacing: str
) -> None:
    models = dataclasses.replace(models, scheduler_config=models.scheduler_config | SDXL | {spacing: True})
    _, timesteps = make_scheduler(models, solver, 4, trailing=True)
    assert timesteps.tolist() == [999, 749, 499, 249]
