"""A variant is drawn as it is called: with the weights for few steps, and only with settings that its method reads."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation.methods import METHODS, load_method, settings_of
from beyondscene.backend.evaluation.variants import ABLATIONS, check_variants, read_variant
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.planning.resolve import ResolvedSettings, resolve_settings
from beyondscene.protocol import Refusal, RenderRequest, RenderSettings, resized
from msgspec.structs import asdict, replace

from ..pipeline.test_render import Spy
from .conftest import CPU


class Noted(ResolvedSettings, frozen=True):
    """Settings that know which of them somebody looked at."""

    def __getattribute__(self, name: str) -> Any:
        LOOKED_AT.add(name)
        return super().__getattribute__(name)


LOOKED_AT: set[str] = set()
# what a method looks at in passing, beside what it reads: for a plan of levels or views that it does not draw
UNTOLD = defaultdict(set, direct={"background_every"}, demofusion={"stride_instance"}, upscale={"pose_at_levels", "t_b"})


def ask(models: Models, request: RenderRequest, variant: str) -> tuple[str, RenderRequest]:
    """The method, and the small request of it."""
    method, settings = read_variant(variant, replace(request.settings, steps=2))
    return method, replace(resized(request, 128, 128), settings=resolve_settings(settings, models.model_set))


def draw(models: Models, request: RenderRequest, variant: str) -> np.ndarray:
    method, asked = ask(models, request, variant)
    return load_method(method)(models, asked, {}, Spy())


def test_a_value_may_end_in_plus_signs() -> None:
    method, settings = read_variant("beyondscene+scheduler=dpmsolver+++t_b=0.3", RenderSettings())
    assert (method, settings.scheduler, settings.t_b) == ("beyondscene", "dpmsolver++", 0.3)


def test_a_number_may_be_written_as_in_the_tables() -> None:
    assert read_variant("beyondscene+t_b=.35", RenderSettings())[1].t_b == 0.35
    assert read_variant("beyondscene+person_cover=.5", RenderSettings())[1].person_cover == 0.5


def test_what_a_value_may_be_is_said() -> None:
    with pytest.raises(Refusal, match="'foo' is no perturb: choose off, paper-literal or probability"):
        read_variant("beyondscene+perturb=foo", RenderSettings())


@pytest.mark.parametrize("method", METHODS)
def test_methods_read_the_settings_that_they_say(method: str, models: Models, two_people: RenderRequest) -> None:
    _, asked = ask(models, two_people, method)
    noted = replace(
        asked, settings=Noted(**asdict(replace(asked.settings, inpaint_people="everything")))
    )  # all that can be read
    LOOKED_AT.clear()
    load_method(method)(models, noted, {}, Spy())
    assert set(settings_of(method)) - LOOKED_AT == set()
    assert LOOKED_AT - set(settings_of(method)) <= UNTOLD[method]


@pytest.mark.parametrize(
    "change", ["guidance_interval=0.6..1", "controlnet_views=with_people", "controlnet_views=none", "background_every=2"]
)
def test_what_views_leave_out_is_left_out_by_multidiffusion_too(change: str, models: Models, two_people: RenderRequest) -> None:
    ana, _ = two_people.characters
    alone = replace(two_people, characters=(replace(ana, keypoints=tuple(replace(k, x=k.x / 3) for k in ana.keypoints)),))
    assert (draw(models, alone, "multidiffusion") != draw(models, alone, f"multidiffusion+{change}")).any()


@pytest.mark.parametrize(
    ("variant", "setting"),
    [
        ("multidiffusion+view_weighting=feathered", "view_weighting"),  # its paper averages uniformly
        ("demofusion+stride_instance=64", "stride_instance"),
        ("direct+background_every=2", "background_every"),
        ("upscale+guidance_interval=0.1..0.8+t_b=0.35", "guidance_interval"),
    ],
)
def test_settings_that_a_method_does_not_read_are_refused(variant: str, setting: str) -> None:
    method, _, _ = variant.partition("+")
    with pytest.raises(ValueError, match=rf"sets {setting}, which {method} does not read: it reads .*guidance_scale, .*steps"):
        check_variants([variant])
    check_variants([*ABLATIONS, *METHODS, f"{method}+few_steps=true+guidance_scale=3"])


@pytest.fixture(scope="module")
def few_step_models(few_step_set: ModelSet) -> Models:
    return load_models(few_step_set, CPU, torch.float32)


@pytest.mark.parametrize("method", METHODS)
def test_few_steps_are_taken_with_their_lora_by_every_method(
    method: str, few_step_models: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, forward = few_step_models, few_step_models.unet.forward
    weight = next(value for name, value in models.unet.named_parameters() if name.endswith("attn1.to_q.weight"))
    plain, seen, timesteps = weight.clone(), [], set()

    def watch(noisy: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(torch.equal(weight, plain))
        timesteps.add(round(float(timestep)))
        return forward(noisy, timestep, *args, **kwargs)

    monkeypatch.setattr(models.unet, "forward", watch)
    settings = replace(two_people.settings, steps=None)
    draw_request = replace(two_people, settings=settings)
    method, changed = read_variant(f"{method}+few_steps=true", draw_request.settings)
    asked = replace(resized(draw_request, 128, 128), settings=resolve_settings(changed, models.model_set))
    load_method(method)(models, asked, {}, Spy())
    assert seen and not any(seen)
    assert timesteps == {999, 499}
    assert torch.equal(weight, plain)
