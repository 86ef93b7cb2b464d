"""People are looked for where their masks are, in the grid of the latents; a level begins from noise and detail of its own."""

from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import Progress, enlarge, resolve_settings
from beyondscene.backend.pipeline.conditions import gather_speakers
from beyondscene.backend.pipeline.enlarge import enlarge_level, find_people
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.schedule import add_noise
from beyondscene.backend.pipeline.seeds import draw_noise
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace

from .test_render import Spy


@pytest.mark.parametrize("shape", [(8, 12), (9, 13), (80, 120)])
def test_people_are_where_whoever_speaks_is(two_people: RenderRequest, shape: tuple[int, int]) -> None:
    characters = tuple(replace(one, part_prompts={"head": "a hat"}) for one in two_people.characters)
    figures = []
    for row, person in enumerate(gather_people(replace(two_people, characters=characters))):
        mask = np.zeros((64, 96), bool)
        mask[5 + 30 * row, 10:30] = True  # an arm of one pixel is not lost
        figures.append(Figure(person, mask, {"head": mask & (np.arange(96) < 15)}))
    people = find_people(figures, *shape)
    assert people.any() and (people == np.any([one.mask for one in gather_speakers(figures, *shape)], 0)).all()
    assert not find_people([], *shape).any()


def test_each_seed_and_each_level_begins_from_noise_and_detail_of_its_own(
    tiny_models: ModelSet, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, encode_image = load_models(tiny_models, torch.device("cpu"), torch.float32), enlarge.encode_image
    injected: list[np.ndarray] = []
    encoded: list[torch.Tensor] = []
    begun: list[torch.Tensor] = []

    def note_picture(models: Any, picture: np.ndarray, part: Any) -> torch.Tensor:
        injected.append(picture)
        encoded.append(encode_image(models, image.repeat(2, 0).repeat(2, 1), part))
        return encoded[-1]

    def note_latents(sampler: Any, begin: Any, *_: Any) -> torch.Tensor:
        begun.append(begin())
        noise = draw_noise(7, "level 1", tuple(begun[0].shape))
        expected = add_noise(sampler.scheduler, encoded[0], noise, sampler.timesteps[0])  # as strong as the first step wants it
        assert torch.equal(begun[0], expected) and len(sampler.timesteps) == 4
        assert sampler.view_weighting == settings.view_weighting == "feathered"
        return begun[-1]

    monkeypatch.setattr(enlarge, "encode_image", note_picture)
    monkeypatch.setattr(enlarge, "denoise", note_latents)
    settings = resolve_settings(replace(two_people.settings, steps=8, t_b=0.5), models.model_set)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for seed, level in ((7, 1), (7, 1), (8, 1), (7, 2)):
        request = replace(two_people, seed=seed, characters=(), settings=settings)
        enlarge_level(models, request, [], image, Size(192, 128), level, PromptEncoder(models), Progress(Spy(), 2, 1))
    for first, again, *others in ([one.tobytes() for one in injected], [one.numpy().tobytes() for one in begun]):
        assert first == again and len({first, *others}) == 3
