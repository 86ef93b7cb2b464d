"""A model set's own LoRA for few steps: one setting brings it along, with its solver, and it comes off again."""

import json
import shutil
from dataclasses import replace as exchange
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation.methods import load_method
from beyondscene.backend.models.extras import gather_extras
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.loras import FEW_STEPS, find_loras
from beyondscene.backend.models.sets import ModelSet, ModelSetError, choose_model_set, read_model_set
from beyondscene.backend.outputs import read_record
from beyondscene.backend.pipeline import render
from beyondscene.backend.planning.resolve import resolve_settings
from beyondscene.backend.render import Renderer
from beyondscene.protocol import Lora, RenderRequest, RenderSettings, resized
from msgspec.structs import replace
from PIL import Image
from torch import nn

from ...tiny_hub import REPOSITORIES, make_repository, save_tiny_hub, write_manifest
from ..pipeline.test_render import Spy
from .test_loras import save_lora

CPU = torch.device("cpu")
FEW = RenderSettings(few_steps=True)


def name_lora(folder: Path, **entry: Any) -> ModelSet:
    """The set in `folder`, whose manifest has this entry `few_steps`."""
    path = folder / "modelset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"few_steps": entry}))
    return read_model_set(folder)


@pytest.fixture
def own_set(tiny_models: ModelSet, tmp_path: Path) -> ModelSet:
    """`tiny` with a random LoRA for two steps of Euler, in a folder of its own."""
    folder = Path(shutil.copytree(tiny_models.folder, tmp_path / "own"))
    save_lora(load_models(tiny_models, CPU, torch.float32), folder / "few_steps", "two")
    return name_lora(folder, place="few_steps", file="two.safetensors", steps=2, scheduler="euler")


@pytest.fixture
def models(own_set: ModelSet) -> Models:
    return load_models(own_set, CPU, torch.float32)


def draw(models: Models, request: RenderRequest) -> np.ndarray:
    return load_method("beyondscene")(models, request, {}, Spy())


def test_the_setting_draws_as_its_parts_do_and_leaves_nothing(models: Models, two_people: RenderRequest) -> None:
    layers = list(models.unet.named_modules())
    rows: list[tuple[float, int]] = []
    forward = models.unet.forward

    def count(noisy: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append((float(timestep), len(noisy)))
        return forward(noisy, timestep, *args, **kwargs)

    models.unet.forward = count  # type: ignore[method-assign]
    weights = {name: tensor.clone() for name, tensor in models.unet.state_dict().items()}
    asked = draw(models, replace(two_people, settings=replace(FEW, perturb="off")))  # rounding would flip an edge
    told, rows = rows, []
    models.unet.forward = forward  # type: ignore[method-assign]
    assert list(models.unet.named_modules()) == layers and models.adapters.active == ()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in models.unet.state_dict().items())

    by_hand = RenderSettings(steps=2, scheduler="euler", guidance_scale=1, inpaint_strength=1, perturb="off")
    folder = models.model_set.folder / "few_steps"
    trailing = exchange(models, scheduler_config=models.scheduler_config | {"timestep_spacing": "trailing"})
    request = replace(two_people, settings=by_hand, loras=(Lora(name="two"),))
    with trailing.adapters.loaded(find_loras(request, [folder])):
        same, *_ = render(trailing, request, {}, Spy())
    assert np.abs(asked.astype(int) - same).max() <= 2  # merged or applied beside the weights: but for rounding
    assert {timestep for timestep, _ in told} == {999, 499}
    people = len(two_people.characters)
    assert told[:2] == [(999, people), (499, people)]  # no negative prompts beside them


def test_no_picture_is_drawn_without_a_lora_that_nobody_has_loaded(models: Models, two_people: RenderRequest) -> None:
    for request, name in (
        (replace(two_people, settings=FEW), r"\(few steps\)"),
        (replace(two_people, loras=(Lora(name="two"),)), "two"),
    ):
        told = Spy()
        with pytest.raises(ModelSetError, match=f"The LoRA '{name}' is not loaded, .* draw with backend.render.Renderer"):
            render(models, request, {}, told)
        assert told.told == []


def test_it_comes_off_where_a_network_does_not_come_back(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {name: tensor.clone() for name, tensor in models.unet.state_dict().items()}
    loras = {FEW_STEPS.name: models.model_set.few_steps_file()}

    def fail() -> None:
        raise RuntimeError("the device is lost")

    with pytest.raises(RuntimeError, match="the device is lost"), models.adapters.loaded(loras):
        monkeypatch.setattr(models.placement, "release", fail)
        assert any((tensor != weights[name]).any() for name, tensor in models.unet.state_dict().items())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in models.unet.state_dict().items())


def test_it_comes_off_a_network_that_was_streamed_by_layers(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {name: tensor.clone() for name, tensor in models.unet.state_dict().items()}
    move = nn.Module.to

    def copy(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        return move(network._apply(lambda tensor: tensor.clone()), *args, **kwargs)  # as between a GPU and its host

    monkeypatch.setattr(nn.Module, "to", copy)
    models.placement.change("layers")
    with models.adapters.loaded({FEW_STEPS.name: models.model_set.few_steps_file()}):
        models.placement.bring(models.unet)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in models.unet.state_dict().items())


def test_others_are_worn_on_top(models: Models, two_people: RenderRequest, tmp_path: Path) -> None:
    (models.model_set.folder / "loras").mkdir()
    save_lora(models, models.model_set.folder / "loras", "clay")
    few = replace(resized(two_people, 96, 64), characters=(), settings=FEW)
    clay = replace(few, loras=(Lora(name="clay"),))
    alone, both, plain = draw(models, few), draw(models, clay), draw(models, replace(clay, settings=RenderSettings(steps=2)))
    assert (alone != both).any() and (both != plain).any()
    assert (draw(models, few) == alone).all()


def test_what_a_request_says_itself_counts(own_set: ModelSet) -> None:
    resolved = resolve_settings(replace(FEW, steps=3, guidance_scale=1.5), own_set)
    assert (resolved.steps, resolved.guidance_scale, resolved.scheduler, resolved.inpaint_strength) == (3, 1.5, "euler", 1)
    assert resolved.t_b == own_set.manifest.t_b
    assert resolve_settings(resolved, own_set) == resolved
    few_steps = own_set.manifest.few_steps
    assert few_steps is not None
    assert resolved.controlnet_conditioning_scale == 1
    few_steps = replace(few_steps, t_b=0.25, controlnet_conditioning_scale=1.5)
    other = replace(own_set, manifest=replace(own_set.manifest, few_steps=few_steps))
    assert (resolve_settings(FEW, other).t_b, resolve_settings(FEW, other).controlnet_conditioning_scale) == (0.25, 1.5)
    assert resolve_settings(replace(FEW, controlnet_conditioning_scale=0), other).controlnet_conditioning_scale == 0
    assert resolve_settings(RenderSettings(), other).controlnet_conditioning_scale == 1


def test_where_it_is_left_to_the_models_the_picture_is_the_best_that_they_can(
    own_set: ModelSet, tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path
) -> None:
    left = RenderSettings(few_steps=None, steps=3, guidance_scale=2, scheduler="dpmsolver++")
    resolved = resolve_settings(left, own_set)
    assert (resolved.few_steps, resolved.steps, resolved.guidance_scale, resolved.scheduler) == (True, 2, 1, "euler")
    resolved = resolve_settings(left, tiny_models)
    assert (resolved.few_steps, resolved.steps, resolved.guidance_scale, resolved.scheduler) == (False, 3, 2, "dpmsolver++")
    request = replace(resized(two_people, 96, 64), characters=())
    for settings in (left, FEW):
        renderer = Renderer("cpu")
        path = tmp_path / f"{settings.few_steps}.png"
        renderer(replace(request, settings=settings), {}, str(own_set.folder), path, Spy())
    assert (np.asarray(Image.open(tmp_path / "None.png")) == np.asarray(Image.open(tmp_path / "True.png"))).all()


def test_the_record_fingerprints_it(own_set: ModelSet, two_people: RenderRequest, tmp_path: Path) -> None:
    renderer = Renderer("cpu")
    request = replace(two_people, characters=(), settings=FEW)
    renderer(request, {}, str(own_set.folder), tmp_path / "few.png", Spy())
    record = read_record(tmp_path / "few.png")
    assert len(record.weights["few_steps/two.safetensors"]) == 64
    assert b"few steps" not in msgspec.json.encode(record.request)  # only the setting


def test_no_request_can_name_it() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": FEW_STEPS.name}, Lora)


def test_a_set_without_one_refuses_before_anything_is_loaded(tiny_models: ModelSet, two_people: RenderRequest) -> None:
    renderer = Renderer("cpu")
    request = replace(two_people, settings=FEW)
    with pytest.raises(ModelSetError, match="'tiny' names no LoRA for few steps: switch few_steps off"):
        renderer(request, {}, str(tiny_models.folder), Path("out.png"), Spy())
    assert not tiny_models.has_few_steps
    with pytest.raises(ModelSetError, match="names no LoRA for few steps"):
        resolve_settings(FEW, tiny_models)


def test_a_file_that_is_not_there_is_said_and_all_else_works_without_it(own_set: ModelSet, two_people: RenderRequest) -> None:
    (own_set.folder / "few_steps" / "two.safetensors").unlink()
    own_set.check()
    assert not own_set.has_few_steps
    with pytest.raises(
        ModelSetError, match=r"for few steps\. Put two\.safetensors into .*few_steps; `beyondscene train few-steps"
    ):
        gather_extras(replace(two_people, settings=FEW), own_set)


@pytest.mark.parametrize("file", ["../secret.safetensors", "lora.bin", "a/b.safetensors"])
def test_manifests_name_a_file_of_safetensors_only(own_set: ModelSet, file: str) -> None:
    with pytest.raises(ModelSetError, match="is not a model set's manifest"):
        name_lora(own_set.folder, place=".", file=file, steps=4)


def test_a_lora_of_the_hub_says_how_to_get_it_and_fits_sdxls_layout(
    two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SDXL's repositories with the LoRA that the preset names, which an inpainting UNet of 9 channels wears too."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    save_tiny_hub(cache)
    preset, request = choose_model_set("sdxl"), replace(resized(two_people, 96, 64), characters=(), settings=FEW)
    few = preset.manifest.few_steps
    assert few is not None and not preset.has_few_steps
    command = f'hf download {few.place} --include "{few.file}"'
    with pytest.raises(ModelSetError, match=rf"Where there is a network, run \(0\.4 GB\)\n  {command}$"):
        gather_extras(request, preset)

    write_manifest(tmp_path / "set", dict(REPOSITORIES))
    hub_set = name_lora(tmp_path / "set", place=few.place, file=few.file, steps=2, scheduler="euler")
    models = load_models(hub_set, CPU, torch.float32)
    save_lora(models, make_repository(cache, few.place), few.file.removesuffix(".safetensors"))
    assert preset.has_few_steps and hub_set.has_few_steps
    few_steps = draw(models, request)
    assert (few_steps != draw(models, replace(request, settings=RenderSettings(steps=2, guidance_scale=1)))).any()
