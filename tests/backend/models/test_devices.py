"""Which device and precision are taken, and which are refused."""

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


@pytest.mark.parametrize(
    ("name", "words"),
    [("abacus", "'abacus' is no device: write auto, cpu"), ("cuda:99", "'cuda:99' is not to be had")],
)
def test_a_device_that_is_none_or_not_here_is_refused(name: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        choose_device(name)
