"""The rivals' latents, with plain formulas in place of the networks: no part of a method can be lost unnoticed.

Only noise, schedule and the method's own arithmetic are in these numbers, so that they hold for any weights and versions.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation.methods import canvas, demofusion, load_method, regional_multidiffusion
from beyondscene.backend.models.load import Models
from beyondscene.backend.pipeline import joint, resolve_settings, schedule
from beyondscene.backend.pipeline.batches import Batch
from beyondscene.backend.pipeline.sampler import Sampler
from beyondscene.protocol import RenderRequest, resized
from msgspec.structs import replace

from ..pipeline.test_render import Spy

Latents = Callable[[str], torch.Tensor]
TOLERANCE = 2e-3

# of row 8 of 16, which goes through both people: every other latent of the first channel
EXPECTED = {
    "direct": (0.3583, -0.3769, 1.2045, -0.0621, 0.0491, 0.9696, -0.0816, 0.7256),
    "multidiffusion": (0.6737, -0.0892, 1.3082, -0.0203, -0.0291, 0.9689, -0.0816, 0.7256),
    "regional_multidiffusion": (0.6739, -0.0892, 1.2803, -0.0391, -0.0258, 0.9689, -0.0816, 0.7256),
    "demofusion": (0.7919, -0.9015, 1.4808, 0.2123, -2.0034, -0.3445, -0.4583, 0.1881),
}


@pytest.fixture
def draw(models: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch) -> Latents:
    """The final latents of a method, every other one of row 8, in four steps at twice the training resolution."""
    drawn: list[torch.Tensor] = []

    def predict(_sampler: Sampler, batch: Batch, canvas: torch.Tensor, window: int, _time: torch.Tensor) -> torch.Tensor:
        seen = joint.crops(canvas, batch.views, window)
        return 0.8 * seen + 0.2 * seen.roll(1, -1).tanh()

    def encode(_models: Models, picture: np.ndarray) -> torch.Tensor:
        return torch.full((4, 8, 8), float(picture.mean()) / 127.5 - 1)

    def decode(_models: Models, latents: torch.Tensor) -> np.ndarray:
        drawn.append(latents)
        return np.zeros((128, 128, 3), np.uint8)

    for solver in schedule.SOLVER:
        monkeypatch.setitem(schedule.SOLVER, solver, {})  # the authors' code ends as the model's own scheduler does
    for module in (joint, demofusion, regional_multidiffusion):
        monkeypatch.setattr(module, "predict", predict)
    for module in (canvas, demofusion, regional_multidiffusion):
        monkeypatch.setattr(module, "decode_latents", decode)
    monkeypatch.setattr(regional_multidiffusion, "encode_image", encode)
    asked = replace(resized(two_people, 128, 128), settings=resolve_settings(two_people.settings, models.model_set))

    def draw_one(method: str) -> torch.Tensor:
        load_method(method)(models, asked, {}, Spy())
        return drawn[-1][0, 8, ::2]

    return draw_one


@pytest.mark.parametrize("method", EXPECTED)
def test_latents_are_those_of_the_method(method: str, draw: Latents) -> None:
    assert draw(method).tolist() == pytest.approx(EXPECTED[method], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "off"),
    [("demofusion.SKIP_POWER", 1e9), ("demofusion.DILATED_POWER", 1e9), ("regional_multidiffusion.BOOTSTRAPPING", 0)],
)
def test_without_a_part_of_its_method_the_latents_are_others(
    name: str, off: float, draw: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, _, _ = name.partition(".")
    monkeypatch.setattr(f"beyondscene.backend.evaluation.methods.{name}", off)
    assert (draw(method) - torch.tensor(EXPECTED[method])).abs().max() > 5 * TOLERANCE
