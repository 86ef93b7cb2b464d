"""Views and tiles fit beside the networks; a process that is held to a part of a GPU makes the picture of a smaller one."""

import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from beyondscene.backend import render
from beyondscene.backend.bench.layouts import SDXL
from beyondscene.backend.bench.random_models import make_random_models
from beyondscene.backend.models import device_memory
from beyondscene.backend.models.device_memory import GIB, free_bytes, hold_to, total_bytes
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.memory_saving import FALLBACKS, FULL_SPEED, MemorySaving, Offload
from beyondscene.backend.models.offload import DevicePlacement
from beyondscene.backend.models.sets import choose_model_set
from beyondscene.backend.pipeline.latents import tile_limits
from beyondscene.backend.pipeline.vae_tiles import walked_bytes
from torch import nn

MIB = 2**20
OTHERS = 3.3  # GiB of GroundingDINO and SAM, which stand beside SDXL's own networks
CARDS = [(12, "networks"), (16, "networks"), (24, "none"), (24, "networks"), (32, "none"), (48, "none"), (80, "none")]


@pytest.fixture(scope="module")
def sdxl() -> Models:
    """Networks without weights, which know what they would weigh."""
    return make_random_models(SDXL, torch.device("meta"), torch.bfloat16)


class Card:
    """What torch says of a GPU of which all is free, but for what is allocated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
        self.gib, self.fraction, self.allocated = gib, 1.0, 0.0
        told = SimpleNamespace(total_memory=int(gib * GIB))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: told)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda number: {0: self.fraction}[number])
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: int(self.allocated * GIB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: int(self.allocated * GIB) + 2 * GIB)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int((gib - self.allocated - 2) * GIB), int(gib * GIB)))


def on_card(models: Models, offload: Offload, memory_saving: MemorySaving = FULL_SPEED) -> Models:
    placement = DevicePlacement(models.device, models.placement._all, models.placement._large, offload)
    return dataclasses.replace(models, device=torch.device("cuda"), placement=placement, memory_saving=memory_saving)


def test_what_walking_a_tile_takes_is_what_was_measured(sdxl: Models) -> None:
    """Decoding 1024x1024 and 2048x2048 in one tile on an H100: peaks beyond the weights, in MiB."""
    for cells, measured in ((128, 18725 - 14353), (256, 31786 - 14353)):
        assert walked_bytes(sdxl.vae, cells) / MIB == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("others", [0.0, OTHERS])
@pytest.mark.parametrize("fallback", [0, 1, 2])
@pytest.mark.parametrize(("gib", "offload"), CARDS)
def test_networks_views_and_tiles_fit_together(
    sdxl: Models, monkeypatch: pytest.MonkeyPatch, gib: float, offload: Offload, fallback: int, others: float
) -> None:
    card, models = Card(monkeypatch, gib), on_card(sdxl, offload, FALLBACKS[fallback])
    segmenter = nn.Linear(int(others * GIB / 4) or 1, 1, bias=False, device="meta")
    models.placement._all.append(segmenter)
    networks = models.placement.resident_bytes(models.unet, models.controlnet) / GIB
    assert networks == pytest.approx(13.73 + others if offload == "none" else 7.11, abs=0.01)
    row = 230 / 1024  # counted
    assert networks + 1.2 + 2 * models.view_batch * row < 0.95 * gib  # 32 texts are 1.2 GiB
    card.allocated = networks = models.placement.resident_bytes(models.vae) / GIB
    window, held_bytes = tile_limits(models)
    assert networks + (walked_bytes(models.vae, window) + held_bytes) / GIB < 0.98 * gib


def test_without_cuda_more_views_go_at_once_where_they_are_small(sdxl: Models) -> None:
    embedded = load_models(choose_model_set("embedded"), torch.device("cpu"), torch.float32)
    assert (embedded.view_batch, sdxl.view_batch) == (16, 4)


def test_each_rung_takes_less_of_both(sdxl: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    for gib in (24, 48, 80):
        card = Card(monkeypatch, gib)
        card.allocated = 13.73
        fallbacks = [on_card(sdxl, "none", fallback) for fallback in FALLBACKS[:4]]
        views, tiles = [one.view_batch for one in fallbacks], [sum_of_limits(one) for one in fallbacks]
        assert views == [views[0], views[0] // 2, views[0] // 4, 1]
        assert all(one > other for one, other in pairwise(tiles))


def sum_of_limits(models: Models) -> int:
    window, held_bytes = tile_limits(models)
    return walked_bytes(models.vae, window) + held_bytes


def test_views_and_tiles_are_chosen_by_what_the_process_is_held_to(sdxl: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    card, models = Card(monkeypatch, 80), on_card(sdxl, "none")
    card.allocated = 14.0
    for device in (torch.device("cuda"), torch.device("cuda", 0)):
        models = dataclasses.replace(models, device=device)
        card.fraction = 1.0
        window, held_bytes = tile_limits(models)
        assert (models.view_batch, window) == (16, 320)
        assert held_bytes / GIB == pytest.approx((80 - 14 - 26.56) / 2, abs=0.01)  # what is cached is free
        card.fraction = 24 / 80
        window, held_bytes = tile_limits(models)
        assert (models.view_batch, window) == (10, 128)
        assert held_bytes / GIB == pytest.approx((24 - 14 - 4.25) / 2, abs=0.01)


@pytest.mark.parametrize("gib", [0.0, 24.0])
def test_no_other_device_can_be_held_to_anything(gib: float) -> None:
    with pytest.raises(ValueError, match=f"--device-memory is {gib:g} GiB, but the device 'cpu' is no CUDA device"):
        hold_to(torch.device("cpu"), gib)


@pytest.mark.parametrize(("most", "held"), [(0.9, [(0.9, 0)]), (1.0, [])])
def test_torch_breaks_off_where_the_driver_would_take_host_memory(
    monkeypatch: pytest.MonkeyPatch, most: float, held: list[tuple[float, int]]
) -> None:
    """As it does on Windows; views and tiles are those of the same GPU elsewhere."""
    seen: list[tuple[float, int]] = []
    monkeypatch.setattr(device_memory, "MOST", most)
    monkeypatch.setattr(render, "choose_device", lambda *_: (torch.device("cuda:0"), torch.float16))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: seen.append(given))
    render.Renderer("cuda:0")
    assert seen == held
    Card(monkeypatch, 24).fraction = most
    assert total_bytes(torch.device("cuda:0")) == 24 * GIB


@pytest.mark.gpu
def test_torch_breaks_off_beyond_it() -> None:
    device = torch.device("cuda")
    hold_to(device, 1.0)
    try:
        assert total_bytes(device) == pytest.approx(GIB, rel=0.01) and free_bytes(device) <= GIB
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2 * GIB, dtype=torch.uint8, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
