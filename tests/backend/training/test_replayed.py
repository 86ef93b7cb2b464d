"""Steps recorded on a GPU bring the gradients of steps taken kernel by kernel; without a GPU they are taken so."""

from typing import Any

import pytest
import torch
from beyondscene.backend.training.replayed import Outputs, Replayed, distance
from torch import Tensor, nn

CUDA = torch.cuda.is_available()


def build_step(device: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 4, 3, padding=1)).to(device)

    def step(pictures: Tensor) -> Outputs:
        loss = (network(pictures) - pictures).square().mean()
        return loss.detach(), *torch.autograd.grad(loss, list(network.parameters()))

    return network, step


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so() -> None:
    told: list[dict] = []
    _, step = build_step("cpu")
    replayed = Replayed(step, told.append)
    for seed in range(4):
        pictures = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        outputs, expected = replayed(pictures), step(pictures)
        assert all(map(torch.equal, outputs, expected))
        assert len(outputs) == len(expected) == 5
    assert len(told) == 1 and "CUDA" in told[0]["not_recorded"]


def test_distance_is_of_numbers_or_tensors_whichever_differ_more() -> None:
    number, tensor = torch.tensor(100.0), torch.ones(4)
    assert distance((number, tensor), (number, tensor)) == 0
    assert distance((number, tensor), (number, 2 * tensor)) == pytest.approx(0.5)
    assert distance((number * 1.1, tensor), (number, tensor)) == pytest.approx(0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
def test_replays_follow_weights_and_inputs() -> None:
    told: list[dict] = []
    network, step = build_step("cuda")
    replayed = Replayed(step, told.append)
    for seed in range(6):
        pictures = torch.randn(2 + seed % 2, 4, 8, 8, device="cuda")
        taken = tuple(one.clone() for one in replayed(pictures))
        assert distance(taken, step(pictures)) < 1e-3
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.1)
    assert [event["recorded"] for event in told] == [1, 2]
