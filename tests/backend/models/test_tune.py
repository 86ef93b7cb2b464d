"""Tuned networks compute the same, but for rounding."""

import shutil

import pytest
import torch
from beyondscene.backend.bench.layouts import TOY
from beyondscene.backend.bench.random_models import make_random_models
from beyondscene.backend.models.load import Models
from beyondscene.backend.models.tune import TUNINGS, is_compiled, tuned
from beyondscene.backend.pipeline.texts import plain_cross_attention


def output(models: Models) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents, texts = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 77, 32, generator=generator)
    told = {"text_embeds": torch.ones(2, 16), "time_ids": torch.full((2, 6), 64.0)}
    with torch.inference_mode():
        return models.unet(latents, 500, texts, added_cond_kwargs=told, return_dict=False)[0]


@pytest.mark.parametrize("name", ["channels_last", "fused", pytest.param("compiled", marks=pytest.mark.slow)])
def test_the_same_output(name: str) -> None:
    if name == "compiled" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    models = make_random_models(TOY, torch.device("cpu"), torch.float32)
    expected = output(models)
    before = dict(models.unet.named_parameters())
    for _ in range(2):  # it can be had again
        with tuned(models, [name]):
            assert torch.allclose(output(models), expected, atol=1e-4)
            assert is_compiled(models.unet) == (name == "compiled") and not is_compiled(models.vae)
            assert bool(plain_cross_attention(models.unet)) == (name != "compiled")  # which still look texts up
        after = dict(models.unet.named_parameters())
        assert after.keys() == before.keys() and all(after[key].stride() == before[key].stride() for key in before)
        assert torch.equal(output(models), expected)


def test_unknown_names_are_refused() -> None:
    models = make_random_models(TOY, torch.device("cpu"), torch.float32)
    refused = pytest.raises(ValueError, match=r"no tuning 'magic': known are channels_last, fused, compiled")
    with refused, tuned(models, [*TUNINGS, "magic"]):
        pass
    assert not is_compiled(models.unet)
