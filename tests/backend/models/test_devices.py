"""Which device and precision are taken, and which are refused."""

from types import SimpleNamespace

import pytest
import torch
from beyondscene.backend.models.devices import choose_device, list_devices, suited_precision
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
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert choose_device("cuda:1") == (torch.device("cuda:1"), torch.bfloat16)
    assert choose_device("cuda:0")[1] == choose_device()[1] == torch.float16


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("NVIDIA GeForce GTX 1660 SUPER", torch.float32),
        ("NVIDIA T1200 Laptop GPU", torch.float32),
        ("NVIDIA GeForce RTX 2060", torch.float16),
        ("Quadro RTX 5000", torch.float16),
    ],
)
def test_a_turing_gpu_whose_half_precision_gives_nan_computes_in_single(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert getattr(torch, suited_precision(torch.device("cuda"))) is precision


@pytest.mark.parametrize(
    ("name", "precision"),
    [("gfx1030", "float16"), ("gfx906:sramecc-:xnack-", "float16"), ("gfx1100", "bfloat16"), ("gfx90a:sramecc+", "bfloat16")],
)
def test_an_amd_gpu_that_emulates_bfloat16_computes_in_float16(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.0")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(gcnArchName=name))
    assert suited_precision(torch.device("cuda")) == precision


@pytest.mark.parametrize(
    ("name", "words"),
    [("abacus", "'abacus' is no device: write auto, cpu"), ("cuda:99", "'cuda:99' is not to be had")],
)
def test_a_device_that_is_none_or_not_here_is_refused(name: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        choose_device(name)


@pytest.mark.parametrize(
    ("built_for", "fitting"),
    [
        ("sm_75 sm_80 sm_86 sm_90 sm_100 sm_120", ("cuda:1", "cuda:2")),  # torch for CUDA 13
        ("sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90a", ("cuda:0", "cuda:1")),
        ("sm_70 sm_75 compute_75", ("cuda:1", "cuda:2")),
        ("sm_90", ("cpu",)),
    ],
)
def test_a_gpu_that_torch_has_no_code_for_is_left_out(
    monkeypatch: pytest.MonkeyPatch, built_for: str, fitting: tuple[str, ...]
) -> None:
    """A GTX 1080, an RTX 3060 and an RTX 5090."""
    capabilities = [(6, 1), (8, 6), (12, 0)]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_arch_list", built_for.split)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index or 0])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce GTX 1080")
    assert list_devices() == fitting and str(choose_device()[0]) == fitting[0].removesuffix(":0")
    if "cuda:0" not in fitting:
        with pytest.raises(Refusal, match=r"'cuda:0', .* GTX 1080, is too old or too new for torch .* built for sm_"):
            choose_device("cuda:0")


def test_an_amd_gpu_that_torch_has_no_code_for_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the one in the processor beside a card."""
    names = ["gfx1100", "gfx1036", "gfx90a:sramecc+:xnack-"]
    monkeypatch.setattr(torch.version, "hip", "7.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["gfx90a", "gfx1030", "gfx1100"])
    properties = [SimpleNamespace(gcnArchName=name) for name in names]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties[device.index])
    assert list_devices() == ("cuda:0", "cuda:2")
