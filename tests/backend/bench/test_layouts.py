"""The set with random weights has SDXL's own sizes: parameters to the last one, work as published."""

from pathlib import Path
from typing import Any

import pytest
import torch
from beyondscene.backend.bench.layouts import SDXL, TOY
from beyondscene.backend.bench.random_models import made_on, make_networks, make_random_models
from beyondscene.backend.bench.unit_costs import unit_costs
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import PRESETS, read_model_set
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from ...tiny_hub import save_tiny_sd15


def count_parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_network_is_as_large_as_sdxls() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(PRESETS / "embedded" / "tokenizer", local_files_only=True)
    with made_on("meta", torch.float32):
        unet, controlnet, inpainting, texts = make_networks(SDXL, tokenizer)
        vae = AutoencoderKL.from_config(SDXL.vae)
    assert count_parameters(unet) == 2_567_463_684
    assert count_parameters(inpainting) == 2_567_463_684 + 5 * 9 * 320
    assert count_parameters(controlnet) == 1_251_014_160
    assert count_parameters(vae) == 83_653_863
    assert [count_parameters(text) for text in texts] == [123_060_480, 694_659_840]


def test_one_view_of_sdxl_costs_what_its_layers_say() -> None:
    """6.76, 3.02 and 10.47 TFLOP, attention counted."""
    models = make_random_models(SDXL, torch.device("meta"), torch.float32)
    units = unit_costs(models)
    assert units.unet / 1e12 == pytest.approx(6.76, rel=0.01)
    assert units.controlnet / 1e12 == pytest.approx(3.02, rel=0.01)
    assert units.embedding / units.controlnet == pytest.approx(0.019, abs=0.004)
    assert units.decode / 1e12 == pytest.approx(10.47, rel=0.01)


def test_a_set_with_one_text_encoder_has_costs_too(tmp_path: Path) -> None:
    models = load_models(read_model_set(save_tiny_sd15(tmp_path)), torch.device("cpu"), torch.float32)
    units = unit_costs(models)
    assert min(units.unet, units.controlnet, units.embedding, units.text, units.decode) > 0


def test_the_same_seed_makes_the_same_weights() -> None:
    one, other = (make_random_models(TOY, torch.device("cpu"), torch.float32) for _ in range(2))
    assert torch.equal(one.unet.conv_in.weight, other.unet.conv_in.weight)
    assert one.controlnet.controlnet_mid_block.weight.abs().sum() > 0  # type: ignore[union-attr]
    assert torch.get_default_dtype() == torch.float32
