"""The whole method with real networks of toy size."""

import dataclasses
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend import pipeline
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.memory_saving import MemorySaving
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.pipeline import Progress, enlarge, render, resolve_settings
from beyondscene.backend.pipeline.enlarge import enlarge_level
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.resize import fit
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.watch import Headway, Stopped
from beyondscene.protocol import RenderRequest, Stage, check_request, describe_array, load_request, save_request
from msgspec.structs import replace
from PIL import Image

from ...tiny import save_tiny_model_set


class Spy:
    """A watcher that keeps what it is told, and cancels after so many steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[tuple[Stage, int, int, float]] = []
        self.previews: list[tuple[int, ...]] = []
        self.stop_after = stop_after

    def progress(self, headway: Headway) -> None:
        self.told.append((headway.stage, headway.level, headway.step, headway.fraction))

    def preview(self, image: np.ndarray) -> None:
        self.previews.append(image.shape)

    def check(self) -> None:
        if self.stop_after is not None and len(self.told) > self.stop_after:
            raise Stopped


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


def test_picture_has_the_requested_size_and_every_stage_is_told(models: Models, two_people: RenderRequest) -> None:
    spy = Spy()
    image, figures, progress = render(models, two_people, {}, spy)
    assert [figure.person.character.name for figure in figures] == ["Ana", "Bo"]
    assert image.shape == (128, 192, 3) and image.dtype == np.uint8 and image.std() > 1
    stages = list(dict.fromkeys((stage, level) for stage, level, _, _ in spy.told))
    assert stages == [("instances", 0), ("composite", 0), ("inpaint", 0), ("tone", 0), ("enlarge", 1), ("decode", 1)]
    fractions = [fraction for *_, fraction in spy.told]
    assert fractions == sorted(fractions) and 0.5 < fractions[-1] <= 1
    assert {time.stage for time in progress.times} == {stage for stage, _ in stages}
    assert len(spy.previews) >= 4


def test_same_request_same_picture_another_seed_another(models: Models, two_people: RenderRequest) -> None:
    first, again = (render(models, two_people, {}, Spy())[0] for _ in range(2))
    other, *_ = render(models, replace(two_people, seed=8), {}, Spy())
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("side_px", [128, 64])
def test_sixteen_bits_are_the_same_picture_less_rounded(models: Models, two_people: RenderRequest, side_px: int) -> None:
    request = replace(two_people, width=side_px, height=side_px, characters=())
    plain, *_ = render(models, request, {}, Spy())
    spy = Spy()
    fine, *_ = render(models, request, {}, spy, dtype=np.uint16)
    assert fine.dtype == np.uint16 and fine.shape == plain.shape
    assert abs(fine / 257 - plain).max() < 0.51
    assert (fine % 257 != 0).any() == (side_px == 128)  # the base image, whose tones are normalised, has 8 bits
    assert spy.previews[-1] == (side_px, side_px, 3)


def test_somebody_wholly_hidden_changes_nothing(models: Models, two_people: RenderRequest) -> None:
    everywhere, nowhere = np.full((128, 192), 255, np.uint8), np.zeros((128, 192), np.uint8)
    arrays = {describe_array(mask).digest: mask for mask in (everywhere, nowhere)}
    ana, bo = two_people.characters
    ana, bo = replace(ana, mask=describe_array(everywhere)), replace(bo, mask=describe_array(nowhere))
    together, _, of_both = render(models, replace(two_people, characters=(ana, bo)), arrays, Spy())
    alone, _, of_one = render(models, replace(two_people, characters=(ana,)), arrays, Spy())
    nobody, *_ = render(models, replace(two_people, characters=(bo,)), arrays, Spy())
    assert (together == alone).all() and (nobody != alone).any()
    assert of_both.evaluations == of_one.evaluations and not of_both.remarks  # not even the work that they would be


def test_rims_are_as_wide_as_asked_for_at_1024_px(
    models: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of the soft rim and of what is painted anew, in pixels of the base image, here of 64 px; the tone as it is set."""
    given: dict[str, float] = {}

    def note(name: str, position: int) -> None:
        stage = getattr(pipeline, name)

        def noted(*args: Any) -> Any:
            given[name] = args[position]
            return stage(*args)

        monkeypatch.setattr(pipeline, name, noted)

    note("compose", 4)
    note("inpaint_background", 4)
    note("normalise_tone", 1)
    settings = replace(two_people.settings, steps=1, mask_feather_px=16, seam_erosion_px=32, clahe_clip_limit=3)
    render(models, replace(two_people, settings=settings), {}, Spy())
    assert given == {"compose": 1.0, "inpaint_background": 2.0, "normalise_tone": 3.0}


def test_batch_size_does_not_change_the_picture(models: Models, two_people: RenderRequest) -> None:
    mask = np.zeros((64, 96), bool)
    mask[20:, 30:50] = True
    figures = [Figure(person, mask, {}) for person in gather_people(two_people)]
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    settings = replace(two_people.settings, steps=4, guidance_scale=2.0)
    request = replace(two_people, settings=resolve_settings(settings, models.model_set))

    def enlarged(view_batch: int) -> np.ndarray:
        sparing = dataclasses.replace(models, memory_saving=MemorySaving(view_batch=view_batch))
        progress = Progress(Spy(), 1, 1)
        return enlarge_level(sparing, request, figures, image, Size(192, 128), 1, PromptEncoder(models), progress)

    assert np.abs(enlarged(8).astype(int) - enlarged(1)).max() <= 1


def test_the_model_set_says_from_which_noise_a_level_starts(models: Models, two_people: RenderRequest) -> None:
    def evaluations(t_b: float | None, of_the_set: float) -> int:
        request = replace(two_people, characters=(), settings=replace(two_people.settings, t_b=t_b))
        spy = Spy()
        other = replace(models.model_set, manifest=replace(models.manifest, t_b=of_the_set))
        render(dataclasses.replace(models, model_set=other), request, {}, spy)
        return sum(stage == "enlarge" and step > 0 for stage, _, step, _ in spy.told)

    assert (evaluations(None, 0.5), evaluations(None, 1.0), evaluations(0.5, 1.0)) == (2, 4, 2)


@pytest.mark.parametrize("scheduler", ["euler", "dpmsolver++"])
def test_other_solvers_end_in_a_picture(models: Models, two_people: RenderRequest, scheduler: str) -> None:
    request = replace(two_people, settings=replace(two_people.settings, scheduler=scheduler))
    assert render(models, request, {}, Spy())[0].std() > 1


@pytest.mark.parametrize("stage", ["cut_out", "compose"])
def test_cancel_stops_within_a_person_and_each_is_told(
    models: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """With SDXL and forty people setting them into the scene takes minutes."""
    spy = Spy()
    settings = replace(two_people.settings, steps=1)
    render(models, replace(two_people, settings=settings), {}, spy)
    assert [step for stage, _, step, _ in spy.told if stage == "composite"] == [0, 1, 2, 3, 4]  # each cut out, each pasted

    made, work = [], getattr(pipeline, stage)

    class Cancelling(Spy):
        def check(self) -> None:
            if made:
                raise Stopped

    def cancel_at_first(*args: Any) -> Any:
        *others, on_person = args
        made.append(1)
        return work(*others, on_person)

    monkeypatch.setattr(pipeline, stage, cancel_at_first)
    cancelled = Cancelling()
    with pytest.raises(Stopped):
        render(models, replace(two_people, settings=settings), {}, cancelled)
    steps = [step for stage, _, step, _ in cancelled.told if stage == "composite"]
    assert steps[-1] == {"cut_out": 0, "compose": 2}[stage]


def test_cancel_stops_within_a_step(models: Models, two_people: RenderRequest) -> None:
    spy = Spy(stop_after=6)
    with pytest.raises(Stopped):
        render(models, two_people, {}, spy)
    assert len(spy.told) == 7


def test_a_large_canvas_is_seen_to_be_encoded_and_decoded(models: Models, two_people: RenderRequest) -> None:
    """On small devices that takes minutes, in which nothing else is told."""
    request = replace(two_people, width=384, height=384, characters=())
    spy = Spy()
    render(dataclasses.replace(models, memory_saving=MemorySaving(vae_window_latents=40)), request, {}, spy)
    encoding = [fraction for stage, level, step, fraction in spy.told if (stage, level, step) == ("enlarge", 3, 0)]
    decoding = [fraction for stage, level, _, fraction in spy.told if (stage, level) == ("decode", 3)]
    for told in (encoding, decoding):
        assert len(told) > 16 and told == sorted(told)
        assert len(set(told)) > 8 and told[-1] > told[0] + 0.02
    assert 0.9 < decoding[-1] <= 0.98


def test_the_watcher_is_asked_before_each_run_of_a_network(models: Models, two_people: RenderRequest) -> None:
    """So that a cancel takes hold, and a job is seen to get on, within a step of many views."""
    asked: list[tuple[Stage, int]] = []

    class Asked(Spy):
        def check(self) -> None:
            asked.append(self.told[-1][:2] if self.told else ("load", 0))

    one_by_one = dataclasses.replace(models, memory_saving=MemorySaving(view_batch=1))
    _, _, progress = render(one_by_one, replace(two_people, characters=()), {}, Asked())
    of_level = progress.evaluations - asked.count(("inpaint", 0))
    assert asked.count(("enlarge", 1)) >= of_level > 20


def test_nobody_in_the_scene_is_a_plain_large_picture(models: Models, two_people: RenderRequest) -> None:
    spy = Spy()
    image, *_ = render(models, replace(two_people, characters=()), {}, spy)
    assert image.shape == (128, 192, 3)
    assert "instances" not in {stage for stage, *_ in spy.told}


def test_a_target_smaller_than_the_base_is_scaled_down(models: Models, two_people: RenderRequest) -> None:
    manifest = replace(models.manifest, training_resolution_px=128)
    models = dataclasses.replace(models, model_set=replace(models.model_set, manifest=manifest))
    small, spy = replace(two_people, width=64, height=64, characters=()), Spy()
    plain, *_ = render(models, small, {}, spy)
    fine, *_ = render(models, small, {}, Spy(), dtype=np.uint16)
    assert spy.previews[-1] == (128, 128, 3) and plain.shape == fine.shape == (64, 64, 3)
    striped = np.full((128, 128, 3), 200, np.uint8)
    striped[:, ::2] = 100
    assert (fit(striped, 64, 64) == 150).all()  # finer lines than it can hold become their mean
    assert abs(fine / 257 - plain).max() < 0.51


def test_inpainting_with_nine_channels_as_sdxl(tmp_path_factory: pytest.TempPathFactory, two_people: RenderRequest) -> None:
    folder = tmp_path_factory.mktemp("nine")
    save_tiny_model_set(folder, inpainting_channels=9)
    models = load_models(read_model_set(folder), torch.device("cpu"), torch.float32)
    assert models.inpainting.config["in_channels"] == 9
    assert render(models, two_people, {}, Spy())[0].std() > 1


def test_prompts_longer_than_the_encoder_are_not_cut(models: Models, two_people: RenderRequest) -> None:
    encoder = PromptEncoder(models)
    long = "a" * 80 + " red shirt"
    assert encoder.encode(long).hidden.shape[0] == 2 * 77
    assert not torch.equal(encoder.encode(long).hidden, encoder.encode("a" * 80 + " blue shirt").hidden)
    ana = replace(two_people.characters[0], prompt=long)
    request = replace(two_people, characters=(ana, two_people.characters[1]))
    short, with_long = render(models, two_people, {}, Spy())[0], render(models, request, {}, Spy())[0]
    assert (short != with_long).any()


def test_the_injected_picture_is_gone_before_the_next_one_is_decoded(
    models: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject_detail, pictures, gone = enlarge.inject_detail, [], []

    def inject(*args: Any) -> np.ndarray:
        injected = inject_detail(*args)
        pictures.append(weakref.ref(injected))
        return injected

    class Decoding(Spy):
        def progress(self, headway: Headway) -> None:
            if headway.stage == "decode":
                gone.extend(picture() is None for picture in pictures)

    monkeypatch.setattr(enlarge, "inject_detail", inject)
    settings = replace(two_people.settings, steps=1, guidance_scale=1.0)
    request = replace(two_people, characters=(), settings=resolve_settings(settings, models.model_set))
    image = np.zeros((64, 96, 3), np.uint8)
    enlarge_level(models, request, [], image, Size(192, 128), 1, PromptEncoder(models), Progress(Decoding(), 1, 1))
    assert gone == [True, True]  # when the stage begins, and when its one tile is done


def test_the_lines_for_python_in_the_documents_draw_what_they_say(
    models: Models,
    two_people: RenderRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "method.md").read_text()
    (lines,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    save_request(tmp_path / "request.json", two_people, {})
    monkeypatch.chdir(tmp_path)
    exec(lines.replace("embedded", str(models.model_set.folder)), {})
    pictures = [np.asarray(Image.open(tmp_path / f"t_b {t_b}.png")) for t_b in (0.25, 0.5)]
    assert pictures[0].shape == (128, 192, 3) and (pictures[0] != pictures[1]).any()
    assert "0.25 [('instances', 0, " in capsys.readouterr().out


def test_the_lines_for_a_mask_of_ones_own_in_the_documents_write_it(
    two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "outputs.md").read_text()
    (lines,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    save_request(tmp_path / "request.json", two_people, {})
    monkeypatch.chdir(tmp_path)
    drawn = np.zeros((two_people.height, two_people.width), np.uint8)
    drawn[8:, :96] = 255
    Image.fromarray(drawn).save("person.png")
    exec(lines, {})
    request, masks = load_request(Path("masked.json"))
    check_request(request)
    ana, bo = request.characters
    assert ana.mask is not None and (masks[ana.mask.digest] == drawn).all() and bo.mask is None
