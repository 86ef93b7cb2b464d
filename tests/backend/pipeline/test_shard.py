"""The views of one picture on several devices: the same picture as on one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend.cli import main
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import Progress, joint, pose_embeddings, shard
from beyondscene.backend.pipeline.batches import even_parts, make_batches
from beyondscene.backend.pipeline.conditions import Condition
from beyondscene.backend.pipeline.joint import denoise
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.sampler import Sampler
from beyondscene.backend.pipeline.schedule import make_scheduler
from beyondscene.protocol import RenderRequest, save_request
from msgspec.structs import replace
from PIL import Image

from .test_render import Spy

COMMAND = """import sys
from beyondscene.backend.cli import main
sys.exit(main(sys.argv[1:]))"""


def dark() -> np.ndarray:
    return np.zeros((64, 64, 3), np.uint8)


def test_parts_are_even() -> None:
    assert [len(part) for part in even_parts(list(range(49)), 16)] == [12, 12, 13, 12]
    assert even_parts([1, 2, 3], 4) == [[1, 2, 3]] and even_parts([1, 2], 1) == [[1], [2]]


def test_each_process_reads_its_own_views_only(tiny_models: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 45 views of three kinds, 20 of them without people, eight run 5 or 6 each, and of each kind as many but for one."""
    models = load_models(tiny_models, torch.device("cpu"), torch.float32)
    scheduler, timesteps = make_scheduler(models, "ddim", 2)
    sampler = Sampler(
        models=models, unet=models.unet, encoder=PromptEncoder(models), scheduler=scheduler, timesteps=timesteps,
        guidance_scale=2.0, controlnet_scale=1.0, controlnet_views="with_people",
    )  # fmt: skip

    def lit() -> np.ndarray:
        return np.full((64, 64, 3), 9, np.uint8)

    told = [Condition("a man", "", lit), Condition("a plaza", "", dark, empty=True), Condition("a man " * 100, "", lit)]
    views = [(0, column) for column in range(45)]
    conditions = [told[1] if column % 9 < 4 else told[2 * (column % 2)] for column in range(45)]
    read, real = [], pose_embeddings._read
    monkeypatch.setattr(pose_embeddings, "_read", lambda *given: read.append(given) or real(*given))
    seen, counts = [], []
    for number in range(8):
        monkeypatch.setattr(shard, "rank_and_world_size", lambda number=number: (number, 8))
        read.clear()
        batches = list(make_batches(sampler, views, conditions, shard.my_shard))
        mine = [view for batch in batches for view in batch.views]
        assert len(read) == sum(not conditions[column].empty for _, column in mine)
        assert len(mine) in (5, 6)
        counts.append([sum(conditions[column] is one for _, column in mine) for one in told])
        seen += mine
    assert sorted(seen) == views and (np.ptp(counts, axis=0) <= 1).all()


def test_a_process_may_have_nothing_to_do(tiny_models: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    models = load_models(tiny_models, torch.device("cpu"), torch.float32)
    scheduler, timesteps = make_scheduler(models, "ddim", 2)
    sampler = Sampler(
        models=models, unet=models.unet, encoder=PromptEncoder(models), scheduler=scheduler, timesteps=timesteps,
        guidance_scale=2.0, controlnet_scale=1.0, background_every=2,
    )  # fmt: skip
    monkeypatch.setattr(shard, "rank_and_world_size", lambda: (1, 2))
    monkeypatch.setattr(joint, "all_reduce_sum", lambda canvas: canvas)
    condition = Condition("a plaza", "", dark, empty=True)
    with Progress(Spy(), 1, 1).stage("enlarge") as stage:
        latents = denoise(sampler, lambda: torch.ones(4, 8, 8), 8, [(0, 0)], [condition], stage)
    assert latents.isfinite().all()


def test_two_processes_draw_the_picture_of_one(
    two_people: RenderRequest, tiny_models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for rounding, which could flip an edge that pixels are replaced at: that is left out."""
    request_file = tmp_path / "request.json"
    save_request(request_file, replace(two_people, settings=replace(two_people.settings, perturb="off")), {})

    def command(name: str) -> list[str]:
        return ["render", str(request_file), "-o", str(tmp_path / name), "--models", str(tiny_models.folder), "--device", "cpu"]

    assert main(command("alone.png")) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    roots = [str(Path(path).resolve()) for path in sys.path if path]
    environment = os.environ | place | {"RANK": "1", "PYTHONPATH": os.pathsep.join(roots)}
    other = subprocess.Popen([sys.executable, "-c", COMMAND, *command("other.png")], env=environment)
    for name, value in (place | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    try:
        assert main(command("together.png")) == 0
        assert other.wait(300) == 0
    finally:
        other.kill()
    alone, together = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("alone.png", "together.png"))
    assert np.abs(alone - together).max() <= 1 and not (tmp_path / "other.png").exists()
