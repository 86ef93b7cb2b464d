"""Where memory is short a picture takes longer; it is not lost, and it stays the same picture."""

import io
import json
import shutil
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from beyondscene.backend import memory, render
from beyondscene.backend.checkpoints import CheckpointFolder
from beyondscene.backend.cli import main
from beyondscene.backend.memory import OutOfMemory, retry_with_less_memory
from beyondscene.backend.models import load
from beyondscene.backend.models.device_memory import is_out_of_memory
from beyondscene.backend.models.load import Models
from beyondscene.backend.models.memory_saving import FALLBACKS, KEY, SPARING, MemorySaving, next_fallback
from beyondscene.backend.models.offload import DevicePlacement
from beyondscene.backend.models.segmenters.semantic import SemanticSegmenter
from beyondscene.backend.models.sets import ModelSet, choose_model_set, read_model_set
from beyondscene.backend.outputs import read_record
from beyondscene.backend.pipeline import joint
from beyondscene.backend.pipeline import latents as latents_stage
from beyondscene.backend.pipeline.batches import Batch
from beyondscene.backend.pipeline.progress import Progress
from beyondscene.backend.pipeline.sampler import Sampler
from beyondscene.backend.render import Renderer
from beyondscene.backend.watch import NoCheckpoints, NoWatcher
from beyondscene.backend.worker import small_jpeg
from beyondscene.protocol import RenderRequest
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from .pipeline.test_render import Spy

NAMES = [FALLBACKS[number].name for number in (0, 1, 2, 3, 7, 8)]  # the way up where the device has room for all networks


class Card:
    """A device that has so little memory that one fallback of the ladder is the first to fit. fits: its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fits: str) -> None:
        self.failures = 0
        number = NAMES.index(fits) if fits in NAMES else len(NAMES)
        predict, tiled = joint.predict, latents_stage.run_tiled

        def fail(words: str) -> None:
            self.failures += 1
            raise torch.OutOfMemoryError(words)

        def evaluate(sampler: Sampler, batch: Batch, *rest: Any) -> torch.Tensor:
            if number >= 1 and len(batch.views) > (4, 2, 1)[min(number, 2)]:
                fail("CUDA out of memory. Tried to allocate 20.00 GiB.")
            if number >= 4 and sampler.models.placement.offload == "none":
                fail("CUDA out of memory. Tried to allocate 2.00 MiB.")
            if number >= 5 and not any(hasattr(part, "_hf_hook") for part in sampler.unet.modules()):
                fail("CUDA out of memory. Tried to allocate 2.00 MiB.")
            if number >= 6:
                fail("CUDA out of memory. Tried to allocate 1.00 MiB.")
            return predict(sampler, batch, *rest)

        def in_tiles(*given: Any, held_bytes: int, **how: Any) -> Any:
            if number >= 3 and held_bytes > 256 * 2**20:
                fail("CUDA out of memory. Tried to allocate 8.00 GiB.")
            return tiled(*given, held_bytes=held_bytes, **how)

        monkeypatch.setattr(load, "choose_view_batch", lambda *_: 4)  # as where views are large
        monkeypatch.setattr(joint, "predict", evaluate)
        monkeypatch.setattr(latents_stage, "run_tiled", in_tiles)


@pytest.fixture
def renderer() -> Renderer:
    return Renderer("cpu")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("fits", NAMES)
def test_each_rung_makes_the_same_picture_and_is_named_in_it(
    renderer: Renderer,
    tiny_models: ModelSet,
    two_people: RenderRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fits: str,
) -> None:
    plain, sparing, next_one = (tmp_path / f"{name}.png" for name in ("plain", "sparing", "next"))
    renderer(two_people, {}, str(tiny_models.folder), plain, Spy())
    with monkeypatch.context() as patch:
        card = Card(patch, fits)
        renderer(two_people, {}, str(tiny_models.folder), sparing, Spy(), CheckpointFolder(tmp_path, "me"))
        assert card.failures == NAMES.index(fits)
        renderer(two_people, {}, str(tiny_models.folder), next_one, Spy())  # knows where the last one came to
        assert card.failures == NAMES.index(fits)
    assert read_record(sparing).memory == fits
    assert np.abs(pixels(sparing) - pixels(plain)).max() <= 1  # these pictures are of one tile on every fallback
    assert next_one.read_bytes() == sparing.read_bytes()


def test_a_rung_is_kept_when_the_job_goes_on_elsewhere(
    renderer: Renderer, tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CheckpointFolder(tmp_path, "me").put(KEY, {"fallback": np.array(1)})
    card = Card(monkeypatch, NAMES[1])
    renderer(two_people, {}, str(tiny_models.folder), tmp_path / "out.png", Spy(), CheckpointFolder(tmp_path, "me"))
    assert (card.failures, read_record(tmp_path / "out.png").memory) == (0, NAMES[1])
    assert FALLBACKS[SPARING].name == NAMES[3]  # where it goes on after it was killed for want of memory


def test_a_command_draws_nothing_again_that_was_drawn_before_memory_ran_out(
    tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "request.json").write_bytes(msgspec.json.encode(two_people))
    command = ["render", str(tmp_path / "request.json"), "--models", str(tiny_models.folder), "--device", "cpu"]
    rows, predict, segment = [0], joint.predict, SemanticSegmenter.segment
    failures = iter([1, 1])

    def count(sampler: Sampler, batch: Batch, *rest: Any) -> torch.Tensor:
        rows[-1] += len(batch.views)
        return predict(sampler, batch, *rest)

    def run_out_twice(*given: Any) -> Any:
        if next(failures, None):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.10 GiB.")
        return segment(*given)

    monkeypatch.setattr(joint, "predict", count)
    assert main([*command, "-o", str(tmp_path / "plain.png")]) == 0
    rows.append(0)
    monkeypatch.setattr(SemanticSegmenter, "segment", run_out_twice)
    assert main([*command, "-o", str(tmp_path / "sparing.png")]) == 0
    assert read_record(tmp_path / "sparing.png").memory == NAMES[2]
    assert rows[0] == rows[1] > 0


@pytest.mark.parametrize("layers", [False, True])
def test_networks_for_which_the_device_has_no_room_are_offloaded(
    tiny_models: ModelSet, renderer: Renderer, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    layers: bool,
) -> None:  # fmt: skip
    plain, sparing = (tmp_path / f"{name}.png" for name in ("plain", "sparing"))
    renderer(two_people, {}, str(tiny_models.folder), plain, Spy())
    new, failures, bring = Renderer("cpu"), [], DevicePlacement._put_on_device

    def bring_what_fits(placement: DevicePlacement, network: nn.Module) -> None:
        if isinstance(network, UNet2DConditionModel) if layers else isinstance(network, AutoencoderKL) and placement._up:
            failures.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        bring(placement, network)

    with monkeypatch.context() as patch:
        patch.setattr(DevicePlacement, "_put_on_device", bring_what_fits)
        new(two_people, {}, str(tiny_models.folder), sparing, Spy(), CheckpointFolder(tmp_path, "me"))
    assert read_record(sparing).memory == (NAMES[-1] if layers else "networks offloaded")
    assert len(failures) == (2 if layers else 1)  # where the UNet alone is too large, less of everything else would not help
    assert np.abs(pixels(sparing) - pixels(plain)).max() <= 1


def test_where_networks_have_no_room_as_many_views_go_through_as_before() -> None:
    def way(number: int, crowded: bool) -> str:
        later = next_fallback(number, crowded)
        return FALLBACKS[later].name if later < len(FALLBACKS) else "none"

    assert way(0, crowded=True) == "networks offloaded"
    assert way(2, crowded=True) == "a quarter as much at once, networks offloaded"
    assert way(4, crowded=False) == "half as much at once, networks offloaded"
    assert way(4, crowded=True) == way(7, crowded=True) == "views one by one, small tiles, layers offloaded"
    assert way(8, crowded=True) == way(8, crowded=False) == "none"


def test_models_that_the_machine_cannot_hold(
    tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer("cpu")

    def fail(*given: Any) -> Models:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried")

    with monkeypatch.context() as patch:
        patch.setattr(render, "load_models", fail)
        with pytest.raises(OutOfMemory, match=r"to load the model set 'tiny': its files have 0.0 GB.*choose .*embedded"):
            renderer(two_people, {}, str(tiny_models.folder), tmp_path / "out.png", Spy())
    renderer(two_people, {}, str(tiny_models.folder), tmp_path / "out.png", Spy())
    assert (tmp_path / "out.png").exists()


def test_one_model_set_leaves_before_the_next_comes(tiny_models: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer("cpu")
    first = weakref.ref(renderer.models(tiny_models).unet)
    load_models, there = render.load_models, []
    monkeypatch.setattr(render, "load_models", lambda *given: there.append(first() is not None) or load_models(*given))
    assert renderer.models(tiny_models).unet is first()
    renderer.models(choose_model_set("embedded"))
    assert there == [False]


def test_a_preview_of_sixteen_bits_is_that_of_eight_and_takes_no_copy_of_the_picture() -> None:
    jpegs: list[tuple[int, int, bytes]] = []

    class Small(NoWatcher):
        def preview(self, image: np.ndarray) -> None:
            jpegs.append(small_jpeg(image))

    progress = Progress(Small(), 1, 1)
    fine = np.broadcast_to(np.linspace(0, 65535, 2048).astype(np.uint16)[:, None, None], (2048, 1024, 3)).copy()
    progress.preview((fine // 257).astype(np.uint8))  # also loads the libraries
    tracemalloc.start()
    try:
        progress.preview(fine)
        assert tracemalloc.get_traced_memory()[1] < fine.nbytes / 4
    finally:
        tracemalloc.stop()
    eight, sixteen = (np.asarray(Image.open(io.BytesIO(jpeg))).astype(int) for *_, jpeg in jpegs)
    assert eight.shape == (512, 256, 3) and abs(sixteen - eight).max() < 3
    progress.preview(fine[:, :1])
    assert jpegs[-1][:2] == (1, 512)  # however long and narrow


def test_files_that_were_replaced_are_loaded_anew(tiny_models: ModelSet, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_models.folder, tmp_path / "mine"))
    renderer = Renderer("cpu")
    first = renderer.models(read_model_set(folder))
    assert renderer.models(read_model_set(folder)) is first
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: weight * 2 for name, weight in load_file(file).items()}, file, {"format": "pt"})
    second = renderer.models(read_model_set(folder))
    assert second.fingerprints != first.fingerprints
    edit(folder / "modelset.json", steps=7)
    assert renderer.models(read_model_set(folder)).manifest.steps == 7
    edit(folder / "scheduler" / "scheduler_config.json", timestep_spacing="trailing")
    assert renderer.models(read_model_set(folder)).scheduler_config["timestep_spacing"] == "trailing"
    edit(folder / "vae" / "config.json", scaling_factor=0.25)
    assert renderer.models(read_model_set(folder)).vae.config["scaling_factor"] == 0.25


def edit(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_what_would_fit_is_said_when_nothing_helps(
    renderer: Renderer, tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(monkeypatch, "nothing")
    words = "layers offloaded: choose 96x64 px, or close other programs"
    with pytest.raises(OutOfMemory, match=words):
        renderer(two_people, {}, str(tiny_models.folder), tmp_path / "out.png", Spy(), CheckpointFolder(tmp_path, "me"))
    assert card.failures == len(NAMES) and not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1099511627776 bytes."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 7.35 GB)"), True),
        (RuntimeError("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"), True),
        (OSError("ページング ファイルが小さすぎるため、この操作を完了できません。 (os error 1455)"), True),
        (RuntimeError("Couldn't open shared file mapping: <torch_4_1>, error code: <1455>"), True),
        (OSError("No such file or directory (os error 2)"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_a_lack_of_memory_is_told(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_one_of_several_processes_does_not_begin_anew_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would wait for it in another step, for ever."""
    tried: list[str] = []

    def attempt(memory_saving: MemorySaving) -> None:
        tried.append(memory_saving.name)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "rank_and_world_size", lambda: (1, 2))
    with pytest.raises(OutOfMemory, match="memory of process 2 of 2 was not enough: pass --offload networks to all, or less"):
        retry_with_less_memory(attempt, NoCheckpoints(), lambda: "less")
    assert tried == [""]
