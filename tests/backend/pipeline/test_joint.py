"""Joint diffusion by itself: every solver, against what Algorithm 2 prints and against a denoiser that is never wrong."""

import dataclasses

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import Progress, joint, resolve_settings
from beyondscene.backend.pipeline.batches import Batch, chunks_of
from beyondscene.backend.pipeline.conditions import Condition
from beyondscene.backend.pipeline.enlarge import enlarge_level
from beyondscene.backend.pipeline.instances import draw_people_alone
from beyondscene.backend.pipeline.joint import crops, denoise
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.sampler import Sampler
from beyondscene.backend.pipeline.schedule import SCHEDULERS, make_scheduler, scheduler_step
from beyondscene.backend.pipeline.seeds import draw_noise
from beyondscene.backend.planning.people import gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.planning.views import View, adaptive_views, grid, weigh_views
from beyondscene.protocol import RenderRequest, RenderSettings
from diffusers import DDIMScheduler
from msgspec.structs import replace

from .reference import overhear
from .test_render import Spy

WINDOW, HEIGHT, WIDTH = 8, 16, 24


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("weighting", ["uniform", "feathered"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_denoiser_that_is_never_wrong_ends_at_the_picture(
    models: Models, monkeypatch: pytest.MonkeyPatch, scheduler: str, weighting: str
) -> None:
    clean = draw_noise(0, "picture", (4, HEIGHT, WIDTH))
    alphas = DDIMScheduler.from_config(models.scheduler_config).alphas_cumprod  # type: ignore[attr-defined]

    def predict(sampler: Sampler, batch: Batch, canvas: torch.Tensor, window: int, timestep: torch.Tensor) -> torch.Tensor:
        """The noise in each view, known because the picture is."""
        alpha = alphas[int(timestep)]
        noise = (canvas - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return crops(noise, batch.views, window)

    monkeypatch.setattr(joint, "predict", predict)
    solver, timesteps = make_scheduler(models, scheduler, 12, 0.7)
    people = np.zeros((HEIGHT, WIDTH), bool)
    people[:, :10] = True
    views = adaptive_views(people, WINDOW, 4, 2, 0.2)
    conditions = [Condition("a plaza", "", lambda: np.zeros((64, 64, 3), np.uint8))] * len(views)
    sampler = Sampler(
        models=models, unet=models.unet, encoder=PromptEncoder(models), scheduler=solver, timesteps=timesteps,
        guidance_scale=1.0, controlnet_scale=0.0, view_weighting=weighting,
    )  # fmt: skip
    noisy = solver.add_noise(clean[None], draw_noise(0, "noise", (1, 4, HEIGHT, WIDTH)), timesteps[:1])[0]  # type: ignore[arg-type]
    assert (noisy - clean).abs().max() > 1
    with Progress(Spy(), 1, 1).stage("enlarge") as stage:
        error = denoise(sampler, lambda: noisy, WINDOW, views, conditions, stage) - clean
    assert error.std() < 1e-3


@pytest.mark.parametrize("weighting", ["uniform", "feathered"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_steps_of_the_mean_output_are_the_mean_of_the_views_steps(models: Models, scheduler: str, weighting: str) -> None:
    """Algorithm 2 averages x_{t-1} over the views, each with a solver that remembers what the view was told."""
    views = grid(HEIGHT, WIDTH, WINDOW, 4)
    weight = torch.from_numpy(weigh_views(WINDOW, weighting))

    def mean(parts: torch.Tensor) -> torch.Tensor:
        total, norm = torch.zeros(4, HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH)
        for (top, left), part in zip(views, parts, strict=True):
            total[:, top : top + WINDOW, left : left + WINDOW] += part * weight
            norm[top : top + WINDOW, left : left + WINDOW] += weight
        return total / norm

    solver, timesteps = make_scheduler(models, scheduler, 10, 0.7)
    of_views = [make_scheduler(models, scheduler, 10, 0.7)[0] for _ in views]
    ours = printed = draw_noise(0, "canvas", (4, HEIGHT, WIDTH)) * solver.init_noise_sigma
    for timestep in timesteps:
        outputs = draw_noise(0, f"outputs {timestep}", (len(views), 4, WINDOW, WINDOW))
        ours = scheduler_step(solver, mean(outputs), timestep, ours)
        stepped = zip(of_views, outputs, crops(printed, views, WINDOW), strict=True)
        printed = mean(torch.stack([scheduler_step(one, output, timestep, seen) for one, output, seen in stepped]))
        assert torch.allclose(ours, printed, atol=1e-5)


def test_latents_are_not_clipped_where_a_config_does_not_say_so(models: Models) -> None:
    config = {name: value for name, value in models.scheduler_config.items() if name != "clip_sample"}
    solver, _ = make_scheduler(dataclasses.replace(models, scheduler_config=config), "ddim", 4)
    assert solver.config["clip_sample"] is False


def test_noise_is_the_same_on_every_device_and_for_every_crowd() -> None:
    torch.manual_seed(1)
    first = draw_noise(7, "level 1", (4, 16, 16))
    torch.manual_seed(2)
    torch.rand(3)
    assert first.device.type == "cpu" and torch.equal(first, draw_noise(7, "level 1", (4, 16, 16)))
    others = [
        draw_noise(7, "level 2", (4, 16, 16)),
        draw_noise(8, "level 1", (4, 16, 16)),
        draw_noise(7 + 2**32, "level 1", (4, 16, 16)),
        draw_noise(7, "person a", (4, 16, 16)),
    ]
    assert all(not torch.equal(first, other) for other in others)
    views: list[View] = [(0, 0), (0, 8)]
    left, right = crops(first, views, 8)  # views see parts of one canvas of noise
    assert torch.equal(torch.cat([left, right], 2), first[:, :8])


@pytest.mark.parametrize("conditioning", ["view", "canvas"])
def test_networks_are_told_of_sizes_as_the_request_says(models: Models, two_people: RenderRequest, conditioning: str) -> None:
    """Height and width of the picture, top and left of the crop, height and width that are wanted, in pixels (SDXL, 2.2)."""
    settings = replace(
        two_people.settings, size_conditioning=conditioning, t_b=0.25, guide_pose=False, steps=4, guidance_scale=2.0
    )
    request = replace(two_people, characters=(), settings=resolve_settings(settings, models.model_set))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    with overhear(models.unet) as told, overhear(models.controlnet) as posed:
        enlarge_level(models, request, [], image, Size(192, 128), 1, PromptEncoder(models), Progress(Spy(), 1, 1))
    assert len({call.timestep for call in told}) == 1
    views = grid(16, 24, 8, 4)
    expected = [(64, 64, 0, 0, 64, 64)] * len(views)
    if conditioning == "canvas":
        expected = [(128, 192, 8 * top, 8 * left, 128, 192) for top, left in views]
    for calls in (told, posed):
        halves = [call.time_ids[: len(call.latents) // 2] for call in calls]
        assert [call.time_ids for call in calls] == [half * 2 for half in halves]  # of both prompts
        assert [sizes for half in halves for sizes in half] == expected
    seen = torch.cat([call.latents.chunk(2)[1] for call in told])
    canvas = torch.full((4, 16, 24), torch.nan)
    for view, (top, left) in zip(seen, views, strict=True):
        canvas[:, top : top + 8, left : left + 8] = view
    assert torch.equal(crops(canvas, views, 8), seen)  # each crop is where its view is told to be


def test_a_negative_prompt_that_nobody_reads_pads_nothing(models: Models) -> None:
    """Attention sees padding: a prompt beside a longer negative one is another prompt."""
    solver, timesteps = make_scheduler(models, "ddim", 2)
    told = Condition("a plaza", " ".join(["rain"] * 200), lambda: np.zeros((64, 64, 3), np.uint8))
    common = {
        "models": models, "unet": models.unet, "encoder": PromptEncoder(models), "scheduler": solver, "timesteps": timesteps,
        "controlnet_scale": 0.0,
    }  # fmt: skip
    assert chunks_of(Sampler(**common, guidance_scale=1.0), told) == 1
    assert chunks_of(Sampler(**common, guidance_scale=2.0), told) >= 3


def test_the_solver_is_the_one_that_is_named_whatever_the_config_says(models: Models) -> None:
    """The stochastic one draws noise of its own, which no seed of ours repeats."""
    odd = dataclasses.replace(models, scheduler_config=models.scheduler_config | {"algorithm_type": "sde-dpmsolver++"})
    latents = draw_noise(0, "latents", (4, 8, 8))
    results = []
    for _ in range(2):
        solver, timesteps = make_scheduler(odd, "dpmsolver++", 4)
        results.append(scheduler_step(solver, torch.zeros_like(latents), timesteps[0], latents))
    assert torch.equal(*results)


def test_guidance_to_the_pose_leaves_it_out_of_the_negative_half(models: Models, two_people: RenderRequest) -> None:
    def residuals(guide_pose: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """What the UNet is given of the pose in its first step: with the negative prompt, and with the positive one."""
        settings = RenderSettings(steps=1, guidance_scale=2.0, guide_pose=guide_pose, controlnet_conditioning_scale=1.0)
        request = replace(two_people, settings=resolve_settings(settings, models.model_set))
        with overhear(models.unet) as calls:
            people = gather_people(request)[:1]
            draw_people_alone(models, request, people, PromptEncoder(models), Progress(Spy(), 1, 1))
        named = calls[0].named
        given = [*named["down_block_additional_residuals"], named["mid_block_additional_residual"]]
        negative, positive = zip(*(part.chunk(2) for part in given), strict=True)
        return torch.cat([part.flatten() for part in negative]), torch.cat([part.flatten() for part in positive])

    (negative, positive), (without, same) = residuals(False), residuals(True)
    assert negative.abs().mean() > 0.01 and not without.any()
    torch.testing.assert_close(same, positive, atol=1e-5, rtol=1e-5)
