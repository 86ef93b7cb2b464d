"""A process that is held to a part of a GPU makes the picture of a smaller one."""

from types import SimpleNamespace

import pytest
import torch
from beyondscene.backend.models.device_memory import GIB, free_bytes, hold_to, total_bytes
from beyondscene.backend.models.load import choose_view_batch
from beyondscene.backend.pipeline.vae_tiles import LARGE_WINDOW_CELLS, WINDOW_CELLS, allowed_bytes, choose_window


def test_views_and_tiles_are_chosen_by_what_the_process_is_held_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of a GPU of 80 GiB, of which 70 are free and 14 are the weights."""
    fraction = 1.0
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * GIB))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda number: {0: fraction}[number])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 14 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 16 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (62 * GIB, 80 * GIB))
    for device in (torch.device("cuda"), torch.device("cuda", 0)):
        fraction = 1.0
        assert (choose_view_batch(device), choose_window(device)) == (16, LARGE_WINDOW_CELLS)
        assert allowed_bytes(device) == 32 * GIB  # half of what is free, 2 GiB of it cached
        fraction = 24 / 80
        assert (choose_view_batch(device), choose_window(device)) == (12, WINDOW_CELLS)
        assert allowed_bytes(device) == pytest.approx(5 * GIB, abs=8)


@pytest.mark.parametrize("gib", [0.0, 24.0])
def test_no_other_device_can_be_held_to_anything(gib: float) -> None:
    with pytest.raises(ValueError, match=f"--device-memory is {gib:g} GiB, but the device 'cpu' is no CUDA device"):
        hold_to(torch.device("cpu"), gib)


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
