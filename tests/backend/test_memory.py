"""Where memory is short a picture takes longer; it is not lost, and it stays the same picture."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend import memory
from beyondscene.backend.checkpoints import CheckpointFolder
from beyondscene.backend.memory import KEY, OutOfMemory, is_out_of_memory
from beyondscene.backend.models.load import Models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.models.thrift import LADDER
from beyondscene.backend.outputs import read_record
from beyondscene.backend.render import Renderer
from beyondscene.protocol import RenderRequest
from PIL import Image

from .pipeline.test_render import Spy

NAMES = [rung.name for rung in LADDER]


class Card:
    """A device that has so little memory that one rung of the ladder is the first to fit. fits: its name."""

    def __init__(self, models: Models, monkeypatch: pytest.MonkeyPatch, fits: str) -> None:
        self.failures = 0
        number = NAMES.index(fits) if fits in NAMES else len(NAMES)
        unet, first = models.unet.forward, models.vae.decoder.conv_in.forward  # type: ignore[union-attr]
        error: type[Exception] = torch.OutOfMemoryError

        def fail(words: str) -> None:
            self.failures += 1
            raise error(words)

        def predict(latents: torch.Tensor, *rest: Any, **common: Any) -> Any:
            if number >= 1 and len(latents) > 2:  # one view, with its negative
                fail("CUDA out of memory. Tried to allocate 20.00 GiB.")
            if number >= 3 and not any(hasattr(part, "_hf_hook") for part in models.unet.modules()):
                fail("CUDA out of memory. Tried to allocate 2.00 MiB.")
            if number >= 4:
                fail("CUDA out of memory. Tried to allocate 1.00 MiB.")
            return unet(latents, *rest, **common)

        def decode(hidden: torch.Tensor) -> torch.Tensor:
            if number >= 2 and hidden.shape[-1] > 40:
                fail("CUDA out of memory. Tried to allocate 8.00 GiB.")
            return first(hidden)

        monkeypatch.setattr(models.unet, "forward", predict)
        monkeypatch.setattr(models.vae.decoder.conv_in, "forward", decode)  # type: ignore[union-attr]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the ladder, as small to these pictures as the real ones are to real pictures."""
    windows = (160, 160, 40, 40)
    ladder = tuple(dataclasses.replace(rung, vae_window_cells=window) for rung, window in zip(LADDER, windows, strict=True))
    monkeypatch.setattr(memory, "LADDER", ladder)


@pytest.fixture(scope="module")
def renderer(tiny_models: ModelSet) -> Renderer:
    return Renderer("cpu", [tiny_models.folder])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("fits", NAMES)
def test_each_rung_makes_the_same_picture_and_is_named_in_it(
    renderer: Renderer, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_tiles: None, fits: str
) -> None:
    plain, sparing, after = (tmp_path / f"{name}.png" for name in ("plain", "sparing", "after"))
    renderer(two_people, {}, "tiny", plain, Spy())
    with monkeypatch.context() as patch:
        card = Card(renderer.models("tiny"), patch, fits)
        renderer(two_people, {}, "tiny", sparing, Spy(), CheckpointFolder(tmp_path, "me"))
        assert card.failures == NAMES.index(fits)
    assert read_record(sparing).memory == fits
    difference = np.abs(pixels(sparing) - pixels(plain))
    if NAMES.index(fits) < 2:
        assert difference.max() <= 1
    else:  # a rounding in the autoencoder may move an edge, and with it what is drawn anew there
        assert difference.mean() < 0.5, (difference.mean(), difference.max())
    renderer(two_people, {}, "tiny", after, Spy())  # the next picture is made the usual way
    assert after.read_bytes() == plain.read_bytes()


def test_a_rung_is_kept_when_the_job_goes_on_elsewhere(
    renderer: Renderer, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_tiles: None
) -> None:
    CheckpointFolder(tmp_path, "me").put(KEY, {"rung": np.array(1)})
    card = Card(renderer.models("tiny"), monkeypatch, NAMES[1])
    renderer(two_people, {}, "tiny", tmp_path / "out.png", Spy(), CheckpointFolder(tmp_path, "me"))
    assert (card.failures, read_record(tmp_path / "out.png").memory) == (0, NAMES[1])


def test_what_would_fit_is_said_when_nothing_helps(
    renderer: Renderer, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_tiles: None
) -> None:
    card = Card(renderer.models("tiny"), monkeypatch, "nothing")
    words = "networks offloaded: choose 96x64 px, or close other programs"
    with pytest.raises(OutOfMemory, match=words):
        renderer(two_people, {}, "tiny", tmp_path / "out.png", Spy(), CheckpointFolder(tmp_path, "me"))
    assert card.failures == len(LADDER) and not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1099511627776 bytes."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 7.35 GB)"), True),
        (RuntimeError("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_a_lack_of_memory_is_told(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one
