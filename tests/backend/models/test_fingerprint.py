"""Fingerprints of weights: what they notice, and what they pass over."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from beyondscene.backend.models.fingerprint import fingerprint, fingerprint_weights
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import ModelSet, ModelSetError, read_model_set
from safetensors.torch import load_file, save_file


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"first": torch.zeros(100, 100), "second": torch.zeros(100, 100), "scale": torch.ones(())}, path)
    return path


@pytest.mark.parametrize("name", ["first", "second", "scale"])
def test_a_change_of_any_tensor_shows(weights: Path, name: str) -> None:
    before = fingerprint(weights)
    tensors = load_file(weights)
    save_file(tensors, weights)
    assert fingerprint(weights) == before
    tensors[name] = tensors[name] + 1e-6
    save_file(tensors, weights)
    assert fingerprint(weights) != before


def test_each_file_of_a_set_that_is_loaded_is_named_once(tiny_models: ModelSet, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_models.folder, folder)
    before = fingerprint_weights(read_model_set(folder))
    network = "diffusion_pytorch_model.safetensors"
    assert set(before) == {
        f"base/unet/{network}", f"base/vae/{network}", "base/text_encoder/model.safetensors",
        "base/text_encoder_2/model.safetensors", f"controlnet/{network}", "segmenter/model.safetensors",
    }  # fmt: skip
    shutil.copy(folder / "unet" / network, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert fingerprint_weights(read_model_set(folder)) == before


def test_a_file_that_is_not_whole_is_refused_before_any_network_is_loaded(tiny_models: ModelSet, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_models.folder, folder)
    path = folder / "segmenter" / "model.safetensors"
    whole = path.read_bytes()
    for broken in (whole[:-1], whole + b"0", whole[:100], b"", random.Random(0).randbytes(500)):
        path.write_bytes(broken)
        with pytest.raises(ModelSetError, match=rf"{path} is damaged or was cut off: copy or fetch it anew\."):
            load_models(read_model_set(folder), torch.device("cpu"), torch.float32)
