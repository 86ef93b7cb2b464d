"""Tiny models, a tiny judge with random weights, and a judge who looks the answers up, for what metrics make of them."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation.fixed_scenes import FixedScene, draw_scene
from beyondscene.backend.evaluation.judge import Found, JudgeConfig, JudgeNet, save_net
from beyondscene.backend.evaluation.measure import read_plan
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet

from ..models.test_few_steps import name_lora
from ..models.test_loras import save_lora

THREE = 2  # a square scene of three people
CPU = torch.device("cpu")
TINY_JUDGE = JudgeConfig(widths=(4, 8, 8, 8, 8), neck=8, blocks=(1, 1, 1, 1))


@dataclass
class Oracle:
    """A Judge who knows one scene: whom it is told to find stands where the plan has them, the regions are the true ones."""

    scene: FixedScene
    find: list[int]  # people of the plan
    ghosts: list[np.ndarray] = field(default_factory=list)  # (18, 2) each
    name: str = "oracle"
    notes: tuple[str, ...] = ()
    of_photographs: bool = False

    def people(self, picture: np.ndarray) -> Found:
        keypoints = [*read_plan(self.scene).keypoints[self.find], *self.ghosts]
        return Found(np.array(keypoints).reshape(-1, 18, 2), np.ones(len(keypoints)))

    def regions(self, picture: np.ndarray, instances: np.ndarray) -> np.ndarray:
        return self.scene.truth.region

    def text_match(self, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray | None:
        return None

    def preference(self, picture: np.ndarray, text: str) -> float | None:
        return None


@pytest.fixture(scope="session")
def scene() -> FixedScene:
    return draw_scene(THREE, 256)


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("judge")
    save_net(JudgeNet(TINY_JUDGE), folder)
    return folder


@pytest.fixture(scope="session")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, CPU, torch.float32)


@pytest.fixture(scope="session")
def few_step_set(tiny_models: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    """`tiny` with a random LoRA for two steps of Euler."""
    folder = Path(shutil.copytree(tiny_models.folder, tmp_path_factory.mktemp("few") / "own"))
    save_lora(load_models(tiny_models, CPU, torch.float32), folder / "few_steps", "two")
    return name_lora(folder, place="few_steps", file="two.safetensors", steps=2, scheduler="euler")
