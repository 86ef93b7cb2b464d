"""HcP layers: which words they are for, what they add to attention, and that nothing changes where they have no say."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend.bench.plain import denoise_plainly
from beyondscene.backend.models.hcp import HcpConfig, attach_hcp, cross_attention, save_hcp
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet, ModelSetError, read_model_set
from beyondscene.backend.pipeline import Progress, render, text_attention
from beyondscene.backend.pipeline.conditions import Condition
from beyondscene.backend.pipeline.human_words import is_human, mark_human
from beyondscene.backend.pipeline.joint import denoise
from beyondscene.backend.pipeline.prompts import Embedding, PromptEncoder, split_tokens
from beyondscene.backend.pipeline.sampler import make_sampler
from beyondscene.backend.pipeline.seeds import draw_noise
from beyondscene.backend.pipeline.text_attention import knowing_texts, stack_hidden
from beyondscene.backend.planning.resolve import resolve_settings
from beyondscene.protocol import RenderRequest, RenderSettings
from msgspec.structs import replace

from .test_render import Spy

CPU = torch.device("cpu")


@pytest.fixture
def hcp_set(tiny_models: ModelSet, tmp_path: Path) -> ModelSet:
    """`tiny` with random HcP layers."""
    folder = Path(shutil.copytree(tiny_models.folder, tmp_path / "hcp"))
    torch.manual_seed(3)
    config = HcpConfig(reduction=2)
    save_hcp(attach_hcp(load_models(tiny_models, CPU, torch.float32).unet, config), config, folder / "hcp")
    manifest = json.loads((folder / "modelset.json").read_text())
    manifest["roles"]["hcp"] = "hcp"
    (folder / "modelset.json").write_text(json.dumps(manifest))
    return read_model_set(folder)


@pytest.fixture
def models(hcp_set: ModelSet) -> Iterator[Models]:
    hcp_set.check()
    yield load_models(hcp_set, CPU, torch.float32)


def output(models: Models, texts: list[Embedding], scale: float) -> torch.Tensor:
    latents = torch.randn(len(texts), 4, 8, 8, generator=torch.Generator().manual_seed(0))
    told = {"text_embeds": torch.stack([text.pooled for text in texts]), "time_ids": torch.full((len(texts), 6), 64.0)}
    with torch.inference_mode(), knowing_texts([models.unet], texts, scale) as project:
        project(texts)
        return models.unet(latents, 500, stack_hidden(texts, torch.float32), added_cond_kwargs=told, return_dict=False)[0]


PEOPLE = "Woman dancer runners running yoga jumps handstand friends ladies Policemen heroes actresses crouches waitress lying"
OTHERS = "beach red building ring wearing plaza king-size dress , shoes glasses manes specimen"


@pytest.mark.parametrize("word", PEOPLE.split())
def test_words_about_people(word: str) -> None:
    assert is_human(word)


@pytest.mark.parametrize("word", OTHERS.split())
def test_words_about_other_things(word: str) -> None:
    assert not is_human(word)


def test_all_pieces_of_a_word_are_marked_alike(models: Models) -> None:
    tokenizer = models.tokenizers[0]
    (ids,) = split_tokens(tokenizer, "a red acrobat, a beach")
    marks = mark_human(tokenizer, ids)
    text = "".join(token for token, marked in zip(tokenizer.convert_ids_to_tokens(ids), marks, strict=True) if marked)
    assert text.removesuffix("</w>") == "acrobat" and len(marks) == len(ids)


def test_only_words_about_people_change_anything(models: Models) -> None:
    encoder = PromptEncoder(models)
    people, place = encoder.encode("a man on a beach"), encoder.encode("a red beach")
    negative = encoder.encode_negative("a man on a beach", 1)
    plain = output(models, [people, place, negative], 0.0)
    prior = output(models, [people, place, negative], 0.5)
    assert torch.allclose(plain[1:], prior[1:], atol=1e-6) and (plain[0] - prior[0]).abs().max() > 1e-4
    assert torch.allclose(prior[0], output(models, [people], 0.5)[0], atol=1e-5)  # whoever else is in the batch
    assert negative.human is None and torch.equal(negative.hidden, people.hidden)


def test_the_maps_are_blended_in_the_columns_of_these_words(models: Models) -> None:
    """Two attentions without a map come to (1 - s) M + s M_h there, and M elsewhere, times the values."""
    text, scale = PromptEncoder(models).encode("a man on a beach"), 0.3
    layer = next(iter(cross_attention(models.unet).values()))
    hidden = torch.randn(1, 16, layer.query_dim, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        with knowing_texts([models.unet], [text], scale) as project:
            project([text])
            actual = layer(hidden, stack_hidden([text], torch.float32))
        assert text.human is not None and text.human.any()
        query, key, value = layer.to_q(hidden)[0], layer.to_k(text.hidden), layer.to_v(text.hidden)  # type: ignore[operator]
        prior_key = layer.hcp(text.hidden, text.human)  # type: ignore[operator]
        heads = []
        for part in torch.arange(query.shape[-1]).chunk(layer.heads):
            own, prior = ((query[:, part] @ keys[:, part].T * layer.scale).softmax(-1) for keys in (key, prior_key))
            assert prior[:, text.human > 0].std(0).min() > 0  # more here than there, were it the only word
            heads.append((own + scale * text.human * (prior - own)) @ value[:, part])
        expected = layer.to_out[0](torch.cat(heads, -1))  # type: ignore[index]
    assert torch.allclose(actual[0], expected, atol=1e-5)


def test_the_same_where_too_many_texts_are_not_kept(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = PromptEncoder(models)
    texts = [encoder.encode("a man"), encoder.encode("a woman dancing"), encoder.encode("a beach")]
    kept = output(models, texts, 0.5)
    monkeypatch.setattr(text_attention, "MOST_CHUNKS", 1)
    assert torch.allclose(output(models, texts, 0.5), kept, atol=1e-6)


def test_the_plain_loop_that_ours_is_measured_against_has_them_too(models: Models, two_people: RenderRequest) -> None:
    def denoised(by: Callable[..., torch.Tensor], scale: float) -> torch.Tensor:
        settings = resolve_settings(RenderSettings(steps=4, hcp_scale=scale), models.model_set)
        sampler = make_sampler(models, replace(two_people, settings=settings), PromptEncoder(models))
        condition = Condition("a man on a beach", "a woman", lambda: np.zeros((64, 64, 3), np.uint8))
        with Progress(Spy(), 1, 1).stage("enlarge") as stage:
            return by(sampler, partial(draw_noise, 0, "noise", (4, 8, 8)), 8, [(0, 0)], [condition], stage)

    ours = denoised(denoise, 1.0)
    assert torch.allclose(ours, denoised(denoise_plainly, 1.0), atol=1e-5)
    assert (ours - denoised(denoise_plainly, 0.0)).abs().max() > 1e-3


def test_a_picture_is_another_one_with_them(models: Models, two_people: RenderRequest) -> None:
    def drawn(**settings: float) -> np.ndarray:
        asked = replace(two_people.settings, **settings)
        image, *_ = render(models, replace(two_people, settings=resolve_settings(asked, models.model_set)), {}, Spy())
        return image

    plain = drawn()
    assert (drawn(hcp_scale=0.0) == plain).all() and (drawn(hcp_scale=1.0) != plain).any()


def test_a_set_may_say_how_much_they_count(hcp_set: ModelSet, tiny_models: ModelSet) -> None:
    advised = replace(hcp_set, manifest=replace(hcp_set.manifest, hcp_scale=0.2))
    assert resolve_settings(RenderSettings(), advised).hcp_scale == 0.2
    assert resolve_settings(RenderSettings(), hcp_set).hcp_scale == 0.0
    forgotten = replace(tiny_models, manifest=replace(tiny_models.manifest, hcp_scale=0.1))  # where only the role was taken out
    for settings, models in ((RenderSettings(hcp_scale=0.1), tiny_models), (RenderSettings(), forgotten)):
        with pytest.raises(
            ModelSetError, match=r"hcp_scale is 0\.1, but the model set 'tiny' has no HcP layers: set hcp_scale to 0"
        ):
            resolve_settings(settings, models)
    assert resolve_settings(RenderSettings(hcp_scale=0.0), forgotten).hcp_scale == 0.0


def test_memory_that_runs_out_says_nothing_of_the_layers(hcp_set: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1099511627776 bytes.")

    monkeypatch.setattr("beyondscene.backend.models.hcp.load_file", run_out)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_models(hcp_set, CPU, torch.float32)


def test_layers_of_another_unet_are_refused(hcp_set: ModelSet) -> None:
    (hcp_set.folder / "hcp" / "config.json").write_text('{"reduction": 3}')
    with pytest.raises(ModelSetError, match="does not fit the base model"):
        load_models(hcp_set, CPU, torch.float32)
    (hcp_set.folder / "hcp" / "model.safetensors").unlink()
    with pytest.raises(ModelSetError, match="lacks its hcp model"):
        hcp_set.check()
