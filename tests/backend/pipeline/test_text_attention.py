"""Texts that are known beforehand make the same output, and leave the networks as they were."""

import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import text_attention as stage
from beyondscene.backend.pipeline.prompts import Embedding, PromptEncoder
from beyondscene.backend.pipeline.text_attention import knowing_texts, plain_cross_attention, stack_hidden
from diffusers.models.attention_processor import AttnProcessor2_0


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


def output(models: Models, texts: list[Embedding]) -> torch.Tensor:
    latents = torch.randn(len(texts), 4, 8, 8, generator=torch.Generator().manual_seed(0))
    told = {"text_embeds": torch.stack([text.pooled for text in texts]), "time_ids": torch.full((len(texts), 6), 64.0)}
    with torch.inference_mode():
        return models.unet(latents, 500, stack_hidden(texts, torch.float32), added_cond_kwargs=told, return_dict=False)[0]


def test_the_same_output_whoever_projects(models: Models) -> None:
    encoder = PromptEncoder(models)
    red, blue = encoder.encode("a red shirt"), encoder.encode("a blue shirt")
    layers = plain_cross_attention(models.unet)
    before = [layer.processor for layer in layers]
    expected = output(models, [red, blue, red])
    projected: list[int] = []
    hooks = [layer.to_k.register_forward_hook(lambda *_: projected.append(1)) for layer in layers]  # type: ignore[union-attr]
    with torch.inference_mode(), knowing_texts([models.unet], [red, blue, red]) as project:
        project([red, blue, red])
        known = len(projected)
        assert known == 2 * len(layers) > 0  # each distinct text once
        actual = output(models, [red, blue, red])
        output(models, [blue])
        assert len(projected) == known
    for hook in hooks:
        hook.remove()
    assert torch.allclose(actual, expected, atol=1e-5) and not torch.allclose(actual[0], actual[1], atol=1e-3)
    assert [layer.processor for layer in layers] == before


def test_a_processor_of_somebody_elses_stays(models: Models) -> None:
    """As one that keeps the attention of a prompt's words."""

    class Keeping(AttnProcessor2_0):
        pass

    before = models.unet.attn_processors
    models.unet.set_attn_processor(Keeping())
    assert not plain_cross_attention(models.unet)
    models.unet.set_attn_processor(before)
    assert plain_cross_attention(models.unet)


def test_states_that_do_not_say_whose_they_are_are_refused(models: Models) -> None:
    text = PromptEncoder(models).encode("a red shirt")
    layer = plain_cross_attention(models.unet)[0]
    with torch.inference_mode(), knowing_texts([models.unet], [text]) as project:
        project([text])
        hidden = torch.zeros(1, 4, layer.query_dim)
        states = stack_hidden([text], torch.float32)
        assert layer(hidden, states).shape == hidden.shape
        with pytest.raises(ValueError, match="without the attribute `texts`"):
            layer(hidden, states.clone())


def test_too_many_texts_are_not_kept(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MOST_CHUNKS", 3)
    encoder = PromptEncoder(models)

    def kept(*texts: Embedding) -> bool:
        with knowing_texts([models.unet], texts):
            return all(isinstance(layer.processor, stage.TextAttention) for layer in plain_cross_attention(models.unet))

    one, two, long = encoder.encode("one"), encoder.encode("two"), encoder.encode("three", at_least_chunks=2)
    assert kept(one, two) and kept(one, long, one, long)
    assert not kept(one, two, long)  # which takes as much as two others
