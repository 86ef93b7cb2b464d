"""Fingerprints of weights: what they notice, and what they pass over."""

import shutil
from pathlib import Path

import pytest
import torch
from beyondscene.backend.models.fingerprint import fingerprint, fingerprint_manifest, fingerprint_weights
from beyondscene.backend.models.sets import ModelSet, read_model_set
from msgspec.structs import replace
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


def test_a_manifest_is_another_where_the_same_request_makes_another_picture(tiny_models: ModelSet) -> None:
    manifest = tiny_models.manifest
    before = fingerprint_manifest(manifest)
    assert fingerprint_manifest(replace(manifest, name="other", steps=9, t_b=0.1)) == before  # which the record's request tells
    for value in ({"clip_skip": 1}, {"framing_prompt": "whole"}, {"training_resolution_px": 128}, {"pose_hands": True}):
        assert fingerprint_manifest(replace(manifest, **value)) != before
