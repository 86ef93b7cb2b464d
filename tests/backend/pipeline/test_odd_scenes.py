"""Scenes at the edge of what can be asked for: each makes a picture, or is refused in one sentence before any step."""

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.manifest import ModelSetError
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import render
from beyondscene.protocol import Lora, RenderRequest, RenderSettings, RequestError, check_request
from msgspec.structs import replace

from ...conftest import stand
from .test_render import Spy


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@pytest.fixture
def quick(two_people: RenderRequest) -> RenderRequest:
    return replace(two_people, settings=RenderSettings(steps=1, guidance_scale=1.0))


def test_forty_people(models: Models, quick: RenderRequest) -> None:
    crowd = tuple(
        stand(f"P{n}", f"person {n}", 10 + 18 * (n % 10), 16 + 32 * (n // 10), 30, depth=9 - n / 10) for n in range(40)
    )
    request = replace(quick, characters=crowd)
    check_request(request)
    image, figures, _ = render(models, request, {}, Spy())
    assert image.shape == (128, 192, 3) and len(figures) > 20  # some stand wholly behind others
    assert [figure.person.depth_m for figure in figures] == sorted((f.person.depth_m for f in figures), reverse=True)


def test_people_in_one_place_leave_the_nearest(models: Models, quick: RenderRequest) -> None:
    crowd = tuple(
        stand(name, f"a person called {name}", 90, 64, 100, depth=d) for name, d in (("Near", 3), ("Far", 7), ("Mid", 5))
    )
    request = replace(quick, characters=crowd)
    check_request(request)
    _, figures, _ = render(models, request, {}, Spy())
    assert figures[-1].person.character.name == "Near"
    assert not np.logical_and.reduce([figure.mask for figure in figures]).any() or len(figures) == 1


@pytest.mark.parametrize("size", [(512, 64), (64, 512), (1024, 128)])
def test_eight_to_one(models: Models, quick: RenderRequest, size: tuple[int, int]) -> None:
    width, height = size
    request = replace(quick, width=width, height=height, characters=(stand("Ana", "a person", width / 2, height / 2, 60),))
    check_request(request)
    assert render(models, request, {}, Spy())[0].shape == (height, width, 3)


def test_a_prompt_in_another_script_is_refused_by_models_that_cannot_read_it(models: Models, quick: RenderRequest) -> None:
    ana, bo = quick.characters
    told = Spy()
    for request, sentence in (
        (replace(quick, prompt="a plaza 広場"), "The scene's prompt has '広場', which the model set 'tiny' cannot read"),
        (replace(quick, prompt=r"a \(plaza:1.3\)"), r"The scene's prompt has '\(plaza:1.3\)'"),  # no emphasis, but these signs
        (replace(quick, characters=(ana, replace(bo, prompt="رجل"))), "The prompt of 'Bo' has 'رجل'"),
        (replace(quick, characters=(ana, replace(bo, negative_prompt="шляпа"))), "The negative prompt of 'Bo' has 'шляпа'"),
        (
            replace(quick, characters=(replace(ana, part_prompts={"head": "café"}), bo)),
            "The prompt for the head of 'Ana' has 'café'",
        ),
    ):
        check_request(request)
        with pytest.raises(RequestError, match=sentence):
            render(models, request, {}, told)
    with pytest.raises(RequestError, match="The scene prompt is empty"):  # by whoever calls from Python, too
        render(models, replace(quick, prompt=" "), {}, told)
    with pytest.raises(ModelSetError, match="wool"):
        render(models, replace(quick, loras=(Lora(name="wool"),)), {}, told)
    assert told.told == []
