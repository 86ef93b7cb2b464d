"""Tuned networks compute the same, but for rounding."""

import shutil

import numpy as np
import pytest
import torch
from beyondscene.backend.bench.float8 import Float8Linear, check_device
from beyondscene.backend.bench.layouts import TOY
from beyondscene.backend.bench.random_models import make_random_models
from beyondscene.backend.bench.tune import TUNINGS, is_channels_last, tuned
from beyondscene.backend.cli.bench import TUNINGS as OFFERED
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import choose_model_set
from beyondscene.backend.pipeline.latents import decode_latents
from beyondscene.backend.pipeline.text_attention import is_compiled, plain_cross_attention
from beyondscene.protocol import Refusal


@pytest.fixture
def multiplied() -> None:
    """What needs products of 8-bit floats on a CPU, which torch has from 2.12 on."""
    try:
        check_device(torch.device("cpu"))
    except Refusal as refusal:
        pytest.skip(str(refusal))


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


def test_a_halved_vae_has_its_own_weights_back() -> None:
    models = make_random_models(TOY, torch.device("cpu"), torch.bfloat16)
    latents = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    exact = decode_latents(models, latents)
    with tuned(models, ["half_vae"]):
        assert models.vae.dtype == torch.bfloat16
        halved = decode_latents(models, latents).astype(int)
        assert 0 < np.abs(halved - exact).max() <= 8
    assert models.vae.dtype == torch.float32
    assert np.array_equal(decode_latents(models, latents), exact)


def test_a_layout_that_a_network_was_loaded_with_stays() -> None:
    models = load_models(choose_model_set("embedded"), torch.device("cpu"), torch.bfloat16)
    networks = models.unet, models.controlnet, models.vae
    with tuned(models, ["channels_last"]):
        assert [is_channels_last(network) for network in networks] == [True, True, True]
    assert [is_channels_last(network) for network in networks] == [False, False, True]


def test_unknown_names_are_refused() -> None:
    models = make_random_models(TOY, torch.device("cpu"), torch.float32)
    refused = pytest.raises(ValueError, match=r"no tuning 'magic': known are channels_last, fused, float8, half_vae, compiled")
    with refused, tuned(models, [*TUNINGS, "magic"]):
        pass
    assert not is_compiled(models.unet)


@pytest.mark.usefixtures("multiplied")
def test_8_bit_floats_are_coarse_but_true_and_leave_nothing() -> None:
    models = make_random_models(TOY, torch.device("cpu"), torch.float32)
    expected, layers = output(models), list(models.unet.named_modules())
    with tuned(models, ["float8", "fused"]):
        changed = [module for module in models.unet.modules() if isinstance(module, Float8Linear)]
        assert len(changed) > 5 and plain_cross_attention(models.unet)
        found = output(models)
        assert 0 < (found - expected).norm() < 0.05 * expected.norm()
    assert [module for _, module in models.unet.named_modules()] == [module for _, module in layers]
    assert torch.equal(output(models), expected)


@pytest.mark.usefixtures("multiplied")
def test_a_product_in_8_bit_floats_is_off_by_a_few_percent_and_by_no_more_for_large_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(64, 48)
    states = torch.randn(3, 7, 64, generator=generator) * torch.logspace(-3, 3, 7)[:, None]
    with torch.no_grad():
        expected = layer(states) - layer.bias
        errors = (Float8Linear(layer)(states) - layer.bias - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert float(errors.max()) < 0.08 and float(errors.mean()) < 0.05


def test_the_command_offers_all() -> None:
    assert tuple(TUNINGS) == OFFERED


def test_devices_that_do_not_multiply_8_bit_floats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'mps' does not multiply 8-bit floats, .* Hopper\), .*: leave out float8"):
        check_device(torch.device("mps"))
