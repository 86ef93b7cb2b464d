"""The LoRA for few steps: the ladder of noise, exact resuming, and a file that the pipeline can load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from beyondscene.backend.cli import main
from beyondscene.backend.models.adapters import take_off
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.training.checkpoints import Ema
from beyondscene.backend.training.denoiser import Denoiser, build_scheduler, load_denoiser
from beyondscene.backend.training.distil import DistilSettings, Ladder, add_lora, distil, lora_layers
from beyondscene.backend.training.embedded import tiny_settings, train_embedded
from beyondscene.backend.training.few_steps import FewStepsSettings
from beyondscene.backend.training.latents import LatentSet, encode_renders
from beyondscene.backend.training.renders import read_shards
from beyondscene.backend.training.tokenizer import read_tokenizers
from beyondscene.backend.training.under_way import OutOfTime, Run
from beyondscene.backend.training.vae import load_vae
from msgspec.structs import replace
from torch import Tensor

CPU = torch.device("cpu")
TINY = tiny_settings(Path(), Path(), CPU)
PLAN = DistilSettings(jumps=2, teacher_steps=2, rank=2, steps=4, batch=2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny embedded model under `models`, of no use, with what it was trained on."""
    work = tmp_path_factory.mktemp("few-steps")
    train_embedded(replace(TINY, work=work, out=work / "models", views=8, processes=1), lambda _: None)
    return work


@pytest.fixture
def model_set(work: Path) -> ModelSet:
    return read_model_set(work / "models")


def load_teacher(folder: Path) -> Denoiser:
    return load_denoiser(folder, TINY.denoiser.sizes, TINY.text)


def load_latents(work: Path) -> LatentSet:
    return encode_renders(load_vae(work / "models", CPU), read_shards(work / "renders", 8), work / "latents.safetensors", CPU)


def test_the_ladders_steps_are_those_of_the_scheduler() -> None:
    ladder, scheduler = Ladder(4, 1, CPU), build_scheduler()
    scheduler.set_timesteps(4)
    random = torch.Generator().manual_seed(0)
    noisy, velocity = torch.randn(2, 3, 4, 8, 8, generator=random)
    for number, timestep in enumerate(scheduler.timesteps):
        rung = torch.full((3,), number)
        reached = ladder.step(noisy, velocity, rung, 1)
        expected = scheduler.step(velocity, int(timestep), noisy, return_dict=False)[0]
        assert torch.allclose(reached, expected, atol=1e-4)
        assert torch.allclose(ladder.velocity(noisy, reached, rung, 1), velocity, atol=1e-3)
    assert torch.allclose(ladder.add_noise(noisy, velocity, torch.zeros(3, dtype=torch.long)), velocity, atol=1e-3)


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """How far two LoRAs are from each other on average."""
    return float(torch.cat([(one[name] - other[name]).abs().flatten() for name in one]).mean())


def test_a_student_resumes_exactly(work: Path, model_set: ModelSet, tmp_path: Path) -> None:
    latents, tokenizers = load_latents(work), read_tokenizers(work / "models")

    passed: list[dict[str, Tensor]] = []

    def train(folder: str, time_left_s: Callable[[], float] = lambda: 1.0) -> dict[str, Tensor]:
        run = Run(tmp_path / folder, 0, CPU, lambda _: None, time_left_s)
        return distil(run, latents, tokenizers, load_teacher(work / "models"), PLAN, model_set.manifest, passed.append)

    whole = train("whole")
    left = iter((1.0, -1.0))
    with pytest.raises(OutOfTime):
        train("parts", lambda: next(left))
    (half,) = passed
    parts = train("parts")
    assert apart(whole, parts) < 0.1 * apart(whole, half)  # not 0: where a gradient is next to none, rounding turns Adam's step
    assert any(tensor.abs().max() > 0 for name, tensor in whole.items() if "lora_B" in name)


def test_a_new_lora_does_nothing_and_its_layers_are_the_networks_own(model_set: ModelSet) -> None:
    teacher = load_teacher(model_set.folder)
    student = add_lora(teacher.unet, rank=2)
    layers = lora_layers(student)
    assert layers and all("lora_" in name for name in layers)
    ema = Ema(layers, 0.5)
    ema.copy_to(layers)
    with torch.no_grad():
        for name, parameter in layers.items():
            if "lora_B" in name:
                assert not parameter.any()
                parameter.fill_(1.0)
    assert all(parameter.eq(1).all() for name, parameter in student.named_parameters() if "lora_B" in name)
    take_off(student)
    assert all(torch.equal(one, other) for one, other in zip(student.parameters(), teacher.unet.parameters(), strict=True))


def test_the_command_writes_what_the_pipeline_can_wear(
    work: Path, model_set: ModelSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few: Any = "beyondscene.backend.training.few_steps"
    tiny = {"sizes": TINY.denoiser.sizes, "text": TINY.text, "views": 8, "size_px": 128, "processes": 1, "distil": PLAN}
    monkeypatch.setattr(f"{few}.FewStepsSettings", lambda **asked: FewStepsSettings(**asked | tiny))
    assert not model_set.has_few_steps
    command = ["train", "few-steps", "--models", str(work / "models"), "--work", str(work), "--device", "cpu"]
    assert main([*command, "--minutes", "0"]) == 3
    assert main([*command, "--minutes", "9"]) == 0
    assert f'"file":"{model_set.few_steps_file()}"' in capsys.readouterr().out
    assert [path for path in model_set.folder.rglob("*") if path.suffix not in {".json", ".safetensors", ""}] == []
    assert len({path.stat().st_mode for path in model_set.folder.rglob("*") if path.is_file()}) == 1
    models = load_models(model_set, CPU, torch.float32)
    with models.adapters.loaded({"few": model_set.few_steps_file()}):
        models.adapters.activate((("few", 1.0),))
        layers = [name for name, _ in models.unet.named_modules() if name.endswith("lora_A.lora_0")]
    assert len(layers) > 50 and not [name for name in layers if name.startswith("conv_in")]
