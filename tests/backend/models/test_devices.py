"""Which device and precision are taken, and which are refused."""

from types import SimpleNamespace

import pytest
import torch
from beyondscene.backend.models.devices import choose_device, list_devices
from beyondscene.backend.render import Renderer
from beyondscene.protocol import Refusal


def test_a_machine_without_a_gpu_computes_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == (torch.device("cpu"), torch.float32) and list_devices() == ("cpu",)
    assert choose_device("cpu", "bfloat16") == (torch.device("cpu"), torch.bfloat16)
    for name in ("auto", "cpu"):  # as `serve --devices auto` gives it to its worker
        with pytest.raises(Refusal, match=r"float16 is for GPUs.* choose float32 or bfloat16 there"):
            Renderer(name, precision="float16")


def test_each_gpu_computes_in_the_precision_that_suits_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of them is current: here an older one beside a newer one."""
    capabilities = {"cuda": (7, 5), "cuda:0": (7, 5), "cuda:1": (8, 0)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=capabilities["cuda"][0]))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[str(device)])
    assert choose_device("cuda:1") == (torch.device("cuda:1"), torch.bfloat16)
    assert choose_device("cuda:0")[1] == choose_device()[1] == torch.float16


@pytest.mark.parametrize(
    ("name", "words"),
    [("abacus", "'abacus' is no device: write auto, cpu"), ("cuda:99", "'cuda:99' is not to be had")],
)
def test_a_device_that_is_none_or_not_here_is_refused(name: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        choose_device(name)
