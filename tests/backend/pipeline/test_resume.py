"""A picture that goes on from its checkpoints has the same pixels as one that was made in one go."""

import logging
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend import checkpoints
from beyondscene.backend.checkpoints import CheckpointFolder
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import Progress, enlarge, joint, render, resolve_settings
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.schedule import SCHEDULERS
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.watch import Stopped
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace
from safetensors import safe_open

from .test_render import Spy

FEW = 11  # looks at the watcher: with eight steps, attempts end in the middle of inpainting and of the level


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


def attempt(
    models: Models, request: RenderRequest, kept: CheckpointFolder | None, looks: int = 1000
) -> tuple[np.ndarray | None, list[float]]:
    spy, picture = Spy(stop_after=looks - 1), None
    with suppress(Stopped):
        picture = render(models, request, {}, spy, kept)[0]
    return picture, [fraction for *_, fraction in spy.told]


def steps_in(path: Path) -> int:
    with safe_open(path, framework="np") as file:
        return int(file.get_tensor("steps"))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_same_pixels_however_often_it_is_stopped(
    models: Models, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    settings = replace(two_people.settings, scheduler=scheduler, steps=8)
    request = replace(two_people, settings=settings, characters=two_people.characters[:1])
    evaluated: list[int] = []
    predict = joint.predict
    monkeypatch.setattr(joint, "predict", lambda sampler, *rest: evaluated.append(1) or predict(sampler, *rest))
    undisturbed, _ = attempt(models, request, None)
    in_one_go = len(evaluated)

    evaluated.clear()
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.0)
    kept = CheckpointFolder(tmp_path, "me")
    image, attempts, fractions, kept_steps = None, 0, [], defaultdict(set)
    while image is None:
        image, told = attempt(models, request, kept, FEW)
        fractions += told
        for path in tmp_path.glob("steps*"):
            kept_steps[path.stem].add(steps_in(path))
        attempts += 1
        assert attempts < 20
    assert undisturbed is not None and (image == undisturbed).all()
    assert all(len(kept_steps[stage]) > 1 for stage in ("steps-inpaint-0", "steps-enlarge-1"))  # they ended in the middle
    most_per_step = 4  # batches of views
    assert len(evaluated) <= in_one_go + attempts * most_per_step  # one step at most is done again
    assert max(fractions) > 0.5 and fractions[-1] == max(fractions)


def test_a_level_that_goes_on_in_its_middle_encodes_nothing(
    models: Models, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it began from would be thrown away; of a large canvas that takes minutes."""
    monkeypatch.setattr(checkpoints, "INTERVAL_S", 0.0)
    settings = resolve_settings(replace(two_people.settings, steps=4, t_b=1.0), models.model_set)
    request = replace(two_people, settings=settings, characters=())
    encoded, encode_image = [], enlarge.encode_image
    monkeypatch.setattr(enlarge, "encode_image", lambda *args: encoded.append(1) or encode_image(*args))

    def level(stop_after: int | None) -> np.ndarray:
        progress = Progress(Spy(stop_after), 1, 1, CheckpointFolder(tmp_path, "me"))
        image = np.zeros((64, 96, 3), np.uint8)
        return enlarge.enlarge_level(models, request, [], image, Size(192, 128), 1, PromptEncoder(models), progress)

    with pytest.raises(Stopped):
        level(3)
    assert 0 < steps_in(tmp_path / "steps-enlarge-1.safetensors") < 4 and len(encoded) == 1
    level(None)
    assert len(encoded) == 1


def test_what_others_or_nobody_could_have_made_is_made_anew(
    models: Models, two_people: RenderRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, _ = attempt(models, two_people, None)
    put: list[int] = []
    finished, _ = attempt(models, two_people, CheckpointFolder(tmp_path, "me", lambda: put.append(1)))
    assert put and undisturbed is not None and finished is not None and (finished == undisturbed).all()
    assert len(attempt(models, two_people, CheckpointFolder(tmp_path, "me"))[1]) < FEW  # nothing is left to do

    with caplog.at_level(logging.WARNING):
        anew, told = attempt(models, two_people, CheckpointFolder(tmp_path, "somebody else"))
    assert "made by somebody else: it is made anew" in caplog.text and len(told) > FEW
    assert anew is not None and (anew == undisturbed).all()

    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-20])
    image, told = attempt(models, two_people, CheckpointFolder(tmp_path, "somebody else"))
    assert "cannot be read" in caplog.text and len(told) > FEW
    assert image is not None and (image == undisturbed).all()


def test_a_checkpoint_in_the_place_of_another_is_made_anew(
    models: Models, two_people: RenderRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, _ = attempt(models, two_people, CheckpointFolder(tmp_path, "me"))
    base, level = tmp_path / "base.safetensors", tmp_path / "level-1-uint8.safetensors"
    level.write_bytes(base.read_bytes())
    base.write_bytes((tmp_path / "steps-inpaint-0.safetensors").read_bytes())
    image, _ = attempt(models, two_people, CheckpointFolder(tmp_path, "me"))
    assert "base.safetensors is not 'base' made by me" in caplog.text
    assert undisturbed is not None and image is not None and (image == undisturbed).all()


def test_a_picture_is_made_also_where_nothing_can_be_kept(
    models: Models, two_people: RenderRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, _ = attempt(models, two_people, CheckpointFolder(tmp_path / "taken away", "me"))
    assert image is not None
    assert "could not be written" in caplog.text
    assert not list(tmp_path.iterdir())
