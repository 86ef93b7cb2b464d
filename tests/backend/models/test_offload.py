"""Networks that take turns: the same picture, and nothing on the device that does not work."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.offload import DevicePlacement
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import render
from beyondscene.protocol import RenderRequest, resized
from torch import nn

from ..pipeline.test_render import Spy


@pytest.fixture
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@contextmanager
def watched(models: Models) -> Iterator[list[tuple[str, set[str]]]]:
    """Which network worked, and which stood on the device then, at each change."""
    names: dict[nn.Module, str] = {models.unet: "unet", models.controlnet: "controlnet", models.vae: "vae"}
    names |= {models.segmenter.networks[0]: "segmenter"} | dict.fromkeys(models.text_encoders, "text")
    seen: list[tuple[str, set[str]]] = []

    def note(layer: nn.Module, *_: object) -> None:
        now = owner[layer], {names[network] for network in models.placement._up}
        if not seen or seen[-1] != now:
            seen.append(now)

    owner = {layer: name for network, name in names.items() for layer in network.modules() if not list(layer.children())}
    hooks = [layer.register_forward_pre_hook(note) for layer in owner]
    yield seen
    for hook in hooks:
        hook.remove()


def test_each_network_is_on_the_device_when_it_works_and_others_are_not(models: Models, two_people: RenderRequest) -> None:
    plain, *_ = render(models, two_people, {}, Spy())
    models.placement.change("networks")
    assert models.placement._up == []
    with watched(models) as seen:
        offloaded, *_ = render(models, two_people, {}, Spy())
    assert (offloaded == plain).all()
    together = {"unet": {"unet", "controlnet"}, "controlnet": {"unet", "controlnet"}}
    assert {name for name, _ in seen} == {"unet", "controlnet", "vae", "segmenter", "text"}
    for name, up in seen:
        assert name in up and up <= together.get(name, {name}), f"{up} were on the device while {name} worked"


def test_layers_come_one_at_a_time_and_leave_no_trace(models: Models, two_people: RenderRequest) -> None:
    two_people = resized(two_people, 96, 64)
    plain, *_ = render(models, two_people, {}, Spy())
    names = [name for name, _ in models.unet.named_modules()]
    models.placement.change("layers")
    models.placement.bring(models.unet)
    assert {parameter.device.type for parameter in models.unet.parameters()} == {"meta"}  # what waits takes no place on it
    assert (render(models, two_people, {}, Spy())[0] == plain).all()
    models.placement.change("none")
    assert {parameter.device.type for parameter in models.unet.parameters()} == {"cpu"}
    assert [name for name, _ in models.unet.named_modules()] == names
    assert (render(models, two_people, {}, Spy())[0] == plain).all()


def test_weights_that_came_and_went_in_inference_mode_can_be_streamed_outside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage brings its networks in inference mode; LoRAs are loaded and offloading is changed outside it."""
    move = nn.Module.to

    def copy(network: nn.Module, device: torch.device) -> nn.Module:
        return move(network._apply(lambda tensor: tensor.clone()), device)  # as between a GPU and its host

    network = nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2))
    placement = DevicePlacement(torch.device("cpu"), (network,), (network,), "networks")
    with torch.inference_mode(), monkeypatch.context() as patch:
        patch.setattr(nn.Module, "to", copy)
        placement.bring(network)
        placement.send_to_host()
    placement.change("layers")
    with torch.inference_mode():
        placement.bring(network)
        network(torch.ones(1, 2))
    placement.release()
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


def test_a_network_of_two_roles_is_moved_once() -> None:
    network = nn.Linear(2, 2)
    placement = DevicePlacement(torch.device("cpu"), (network, network), (network,), "layers")
    placement.bring(network, network)
    placement.bring(network)
    assert network(torch.ones(1, 2)).shape == (1, 2)
    placement.change("none")
    assert network.weight.device.type == "cpu"


@pytest.mark.gpu
def test_a_gpu_holds_what_works(tiny_models: ModelSet, two_people: RenderRequest) -> None:
    models = load_models(tiny_models, torch.device("cuda"), torch.float32, "networks")
    render(models, two_people, {}, Spy())
    models.placement.bring(models.vae)
    assert {parameter.device.type for parameter in models.vae.parameters()} == {"cuda"}
    assert {parameter.device.type for network in (models.unet, models.controlnet) for parameter in network.parameters()} == {
        "cpu"
    }
