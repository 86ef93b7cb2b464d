"""The embedded model in the repository loads with stock classes and does as it is told."""

import textwrap
from typing import Any

import pytest
import torch
from beyondscene.backend.models.sets import PRESETS, read_model_set
from beyondscene.backend.training.export import MODEL_SET
from beyondscene.backend.training.measurements import measure_colours, measure_regions, measure_silhouettes
from beyondscene.backend.training.samples import (
    draw_held_out,
    generate,
    load_model_set,
    own_settings,
    redraw,
    restore,
    with_few_steps,
)
from beyondscene.backend.training.tokenizer import build_tokenizers
from diffusers import StableDiffusionXLControlNetPipeline
from msgspec.structs import replace
from PIL import Image
from transformers import UperNetForSemanticSegmentation

EMBEDDED = PRESETS / "embedded"

Model = tuple[StableDiffusionXLControlNetPipeline, UperNetForSemanticSegmentation]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model_set(EMBEDDED, torch.device("cpu"))


def test_files_are_small_and_safe() -> None:
    files = [path for path in EMBEDDED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt"}
    assert max(path.stat().st_size for path in files) < 16_000_000
    assert sum(path.stat().st_size for path in files) < 60_000_000


def test_the_cards_own_lines_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EMBEDDED.parents[2])
    card = (EMBEDDED / "README.md").read_text()
    lines = textwrap.dedent(card[card.index("    import torch") : card.index("\n`pose` is")])
    drawn: dict[str, Any] = {"pose": Image.new("RGB", (256, 256))}
    exec(lines.replace("num_inference_steps=20", "num_inference_steps=1"), drawn)
    assert drawn["picture"].images[0].size == (256, 256)


def test_model_set_names_its_roles() -> None:
    assert read_model_set(EMBEDDED).manifest == MODEL_SET
    assert all((EMBEDDED / role).is_dir() for role in MODEL_SET.roles.values())


def test_samples_are_drawn_as_the_manifest_says() -> None:
    drawn = own_settings(MODEL_SET)
    assert (drawn.steps, drawn.guidance_scale, drawn.controlnet_conditioning_scale) == (20, 2.5, 1.0) and drawn.guide_pose
    assert own_settings(replace(MODEL_SET, steps=7, guide_pose=False)) == replace(drawn, steps=7, guide_pose=False)


def test_tokenizers_are_those_that_training_builds(model: Model) -> None:
    pipeline, _ = model
    prompt = "a city plaza, a person with a red shirt, blue trousers and black hair"
    for stored, built in zip((pipeline.tokenizer, pipeline.tokenizer_2), build_tokenizers(), strict=True):
        assert stored.get_vocab() == built.get_vocab()  # built by another process: numbers must not depend on which
        padded = {"padding": "max_length", "max_length": 77}
        assert stored(prompt, **padded).input_ids == built(prompt, **padded).input_ids
        assert len(stored(prompt).input_ids) == 2 + 16  # a token for every word and comma


def test_four_unguided_steps_are_enough_with_the_lora_for_them() -> None:
    pipeline, segmenter = load_model_set(EMBEDDED, torch.device("cpu"))
    settings = with_few_steps(pipeline, read_model_set(EMBEDDED), replace(own_settings(MODEL_SET), batch=4))
    assert (settings.steps, settings.guidance_scale) == (4, 1)
    views = draw_held_out(4, ("portrait",), first=500)
    samples = generate(pipeline, views, settings)
    colours = measure_colours(samples, views)
    assert colours["shirt"] >= 0.75 and colours["trousers"] >= 0.75
    assert measure_silhouettes(samples, views, segmenter) > 0.5


def test_people_have_their_shirts_and_poses(model: Model) -> None:
    pipeline, segmenter = model
    views = draw_held_out(4, ("portrait",), first=500)
    samples = generate(pipeline, views, replace(own_settings(MODEL_SET), steps=8, batch=4))
    colours = measure_colours(samples, views)
    assert colours["shirt"] >= 0.75
    assert colours["trousers"] >= 0.75
    assert measure_silhouettes(samples, views, segmenter) > 0.5


def test_autoencoder_keeps_colours(model: Model) -> None:
    views = draw_held_out(4, ("portrait",), first=600)
    restored = restore(model[0], views)
    assert measure_colours(restored, views)["shirt"] == 1


def test_segmenter_finds_people(model: Model) -> None:
    pipeline, segmenter = model
    views = draw_held_out(4, ("portrait",), first=600)
    assert measure_silhouettes(restore(pipeline, views), views, segmenter) > 0.75


def test_segmenter_knows_heads_in_pictures_of_the_model(model: Model) -> None:
    pipeline, segmenter = model
    views = draw_held_out(4, ("portrait",), first=600)
    drawn = redraw(pipeline, views, replace(own_settings(MODEL_SET), steps=6, batch=4), strength=0.5)
    assert all((picture != view.picture).mean() > 0.5 for picture, view in zip(drawn, views, strict=True))
    found = measure_regions(drawn, views, segmenter)
    assert found["person"] > 0.7
    assert found["head with hair"] > 0.5
