"""What the user may have left out: less is computed, the picture is another one, and by default nothing is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend import checkpoints
from beyondscene.backend.bench.count import Counter
from beyondscene.backend.checkpoints import CheckpointFolder
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import Progress, resolve_settings
from beyondscene.backend.pipeline.enlarge import enlarge_level
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.schedule import make_scheduler
from beyondscene.backend.pipeline.shortcuts import Background, is_guided
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.watch import Checkpoints, Stopped
from beyondscene.protocol import RenderRequest, RequestError, check_request
from msgspec.structs import replace

from .test_render import Spy

STEPS = 6
T_B = 4 / STEPS


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


def level(
    models: Models, request: RenderRequest, kept: Checkpoints | None = None, stop_after: int | None = None, **settings: Any
) -> np.ndarray:
    """One level, of four steps; nobody is in its views on the right."""
    chosen = replace(request.settings, steps=STEPS, guidance_scale=2.0, t_b=T_B, **settings)
    request = replace(request, settings=resolve_settings(chosen, models.model_set))
    mask = np.zeros((64, 96), bool)
    mask[20:, 30:50] = True
    figures = [Figure(person, mask, {}) for person in gather_people(request)]
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    progress = Progress(Spy(stop_after), 1, 1, kept)
    return enlarge_level(models, request, figures, image, Size(192, 128), 1, PromptEncoder(models), progress)


def rows_and_picture(models: Models, request: RenderRequest, **settings: Any) -> tuple[int, int, np.ndarray]:
    """Rows that went through the UNet and through the ControlNet, and the picture."""
    counter, poses = Counter(models), []

    def count(module: Any, args: tuple[torch.Tensor, ...], kwargs: Any) -> None:
        poses.append(len(args[0]))

    hook = models.controlnet.register_forward_pre_hook(count, with_kwargs=True)
    with counter.counting():
        picture = level(models, request, **settings)
    hook.remove()
    return counter.take()[1], sum(poses), picture


def test_each_setting_saves_work_and_makes_another_picture(models: Models, two_people: RenderRequest) -> None:
    everything, posed, picture = rows_and_picture(models, two_people)
    assert everything == posed
    unet, controlnet, unposed = rows_and_picture(models, two_people, controlnet_views="with_people")
    empty = 1 - controlnet / posed  # share of the views in which nobody is
    assert unet == everything and 0.05 < empty < 0.9
    _, nowhere, unposed_all = rows_and_picture(models, two_people, controlnet_views="none")
    assert nowhere == 0 and (unposed_all != unposed).any()
    half_guided = rows_and_picture(models, two_people, guidance_interval=(0.0, 0.25))  # two of the four steps
    assert half_guided[:2] == (everything * 3 // 4, everything * 3 // 4)
    seldom = rows_and_picture(models, two_people, background_every=2)
    assert seldom[0] == seldom[1] == pytest.approx(everything * (1 - empty / 2))
    for other in (unposed, half_guided[2], seldom[2]):
        assert (picture != other).any()


def test_a_guided_pose_is_read_for_the_prompt_alone(models: Models, two_people: RenderRequest) -> None:
    rows, posed, picture = rows_and_picture(models, two_people)
    assert rows_and_picture(models, two_people, guide_pose=False)[2].tobytes() == picture.tobytes()
    *counts, other = rows_and_picture(models, two_people, guide_pose=True)
    assert counts == [rows, posed // 2] and (other != picture).any()
    unguided = {"guidance_interval": (0.0, 0.0)}  # then there is one half only, and it has the pose
    alone = [rows_and_picture(models, two_people, guide_pose=guide, **unguided)[2] for guide in (False, True)]
    assert (alone[0] == alone[1]).all()
    for told, same in (({"negative_prompt": "fog"}, True), ({"prompt": "a wood"}, False)):  # nor does it read a negative prompt
        assert (rows_and_picture(models, replace(two_people, **told), **unguided)[2] == alone[0]).all() == same


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_background_is_guessed_from_what_it_was_said_to_be(models: Models, prediction: str) -> None:
    scheduler, timesteps = make_scheduler(models, "ddim", 4)
    scheduler.register_to_config(prediction_type=prediction)
    random = torch.Generator().manual_seed(0)
    scaled, total = torch.randn(4, 8, 8, generator=random), torch.randn(4, 8, 8, generator=random)
    weight = torch.rand(8, 8, generator=random)
    background, again = (Background(scheduler, weight, lambda *_: total, every=2) for _ in range(2))
    assert background.add_up(scaled, timesteps[2], 0) is total
    assert torch.allclose(background.add_up(scaled, timesteps[2], 1), total, atol=1e-4)  # nothing has changed
    other = background.add_up(scaled * 2, timesteps[3], 1)
    again.load_state_arrays(background.state_arrays())
    assert torch.equal(again.add_up(scaled * 2, timesteps[3], 1), other)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_the_guess_leads_to_the_same_clean_picture(models: Models, prediction: str) -> None:
    scheduler, timesteps = make_scheduler(models, "ddim", 4)
    scheduler.register_to_config(prediction_type=prediction)
    clean, noise = torch.full((4, 8, 8), 0.7), torch.full((4, 8, 8), -0.3)
    said, later = (noise, 2 * noise) if prediction == "epsilon" else (clean, clean)
    background = Background(scheduler, torch.ones(8, 8), lambda *_: said, every=2)
    noisy = scheduler.add_noise(clean, noise, timesteps[1:2])  # type: ignore[arg-type]
    background.add_up(noisy, timesteps[1], 0)
    noisier = scheduler.add_noise(clean, 2 * noise, timesteps[2:3])  # type: ignore[arg-type]
    assert torch.allclose(background.add_up(noisier, timesteps[2], 1), later, atol=1e-4)


def test_a_picture_with_a_remembered_background_goes_on_as_it_was(
    models: Models, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = level(models, two_people, background_every=2)
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.0)
    kept = CheckpointFolder(tmp_path, "me")
    with pytest.raises(Stopped):
        level(models, two_people, kept, stop_after=1, background_every=2)  # after the step that runs the background
    assert (level(models, two_people, kept, background_every=2) == undisturbed).all()


def test_guidance_holds_within_its_interval(models: Models) -> None:
    scheduler, _ = make_scheduler(models, "ddim", 4)
    guided = [is_guided(scheduler, (0.2, 0.5), torch.tensor(timestep)) for timestep in (100, 200, 350, 500, 600)]
    assert guided == [False, True, True, True, False]


def test_an_interval_that_ends_before_it_begins_is_refused(two_people: RenderRequest) -> None:
    settings = replace(two_people.settings, guidance_interval=(0.8, 0.2))
    with pytest.raises(RequestError, match=r"guidance_interval goes from 0\.8 to 0\.2"):
        check_request(replace(two_people, settings=settings))
