"""Prompts reach the networks whole and as diffusers encodes them: any length, any script, each person's negatives and parts."""

import dataclasses
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet, ModelSetError, choose_model_set, read_model_set
from beyondscene.backend.pipeline import Progress, resolve_settings
from beyondscene.backend.pipeline.instances import centre, describe_alone, draw_people_alone
from beyondscene.backend.pipeline.prompts import Embedding, PromptEncoder, cannot_read, split_tokens
from beyondscene.backend.planning.people import gather_people
from beyondscene.protocol import HiddenJoints, Lora, RenderRequest
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from msgspec.structs import replace
from transformers import CLIPTokenizer

from ...tiny_hub import write_manifest
from .reference import of_diffusers
from .test_render import Spy

LONG = " ".join(["a person with a red shirt and blue trousers walks over a city plaza at night"] * 13)
SCRIPTS = ("広場に立つ人", "رجل في الساحة", "человек на площади", "a café, “quoted” 🙂", "<|endoftext|> is no end")


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def tokenizers() -> list[CLIPTokenizer]:
    """The embedded model's: bytes under its words, as CLIP's own."""
    folder = choose_model_set("embedded").folder
    return [CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2")]


def test_two_hundred_tokens_are_kept_to_the_last(models: Models, tokenizers: list[CLIPTokenizer]) -> None:
    for tokenizer in tokenizers:
        chunks = split_tokens(tokenizer, LONG)
        assert sum(len(chunk) for chunk in chunks) >= 200 and {len(chunk) for chunk in chunks[:-1]} == {75}
        assert str(tokenizer.decode([token for chunk in chunks for token in chunk])).split() == LONG.split()
    encoder = PromptEncoder(models)
    letters = "a" * 199
    told = [encoder.encode(letters + last) for last in ("b", "c")]
    assert torch.equal(told[0].pooled, told[1].pooled)  # of the first chunk
    first, other = (one.hidden.unflatten(0, (3, 77)) for one in told)
    assert torch.equal(first[:2], other[:2]) and not torch.equal(first[2], other[2])


def test_a_full_chunk_ends_after_the_last_comma_that_is_near(tokenizers: list[CLIPTokenizer]) -> None:
    person = "a woman in a green jacket and blue trousers, "
    for tokenizer in tokenizers:
        text = (person * 12).rstrip(", ")
        chunks = [str(tokenizer.decode(chunk)).strip() for chunk in split_tokens(tokenizer, text)]
        assert len(chunks) > 1 and all(chunk.endswith(",") and chunk.startswith("a woman") for chunk in chunks[:-1])
        assert " ".join(chunks).replace(" ,", ",") == text
        far = "red, " + "green " * 90  # the comma is too far back
        assert [len(chunk) for chunk in split_tokens(tokenizer, far)] == [75, 17]
        two = "green " * 60 + "red, blue, " + "green " * 30
        assert [len(chunk) for chunk in split_tokens(tokenizer, two)] == [64, 30]


def test_emphasis_leads_away_from_what_no_word_would_say(models: Models) -> None:
    encoder = PromptEncoder(models)
    before, marked = (split_tokens(models.tokenizers[0], text)[0] for text in ("a person with a", "a person with a red shirt"))
    said = [*range(1 + len(before), 1 + len(marked))]
    plain, empty = encoder.encode("a person with a red shirt, a hat"), encoder.encode("")
    for weight in (0, 0.5, 1, 1.4):
        told = encoder.encode(f"a person with a (red shirt:{weight}), a hat")
        assert torch.allclose(told.hidden[said], (empty.hidden + weight * (plain.hidden - empty.hidden))[said], atol=1e-5)
        others = [place for place in range(77) if place not in said]
        assert torch.equal(told.hidden[others], plain.hidden[others]) and torch.equal(told.pooled, plain.pooled)
    far = encoder.encode(LONG + ", (green boots:2)").hidden - encoder.encode(LONG + ", green boots").hidden
    assert not far[:-77].any()
    assert far.any(1).sum() == len(split_tokens(models.tokenizers[0], "green boots")[0])


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_is_read_letter_by_letter(tokenizers: list[CLIPTokenizer], text: str) -> None:
    for tokenizer in tokenizers:
        tokens = [token for chunk in split_tokens(tokenizer, text) for token in chunk]
        assert not any(cannot_read(tokenizer, word) for word in text.split())
        assert tokenizer.bos_token_id not in tokens and tokenizer.eos_token_id not in tokens
        assert str(tokenizer.decode(tokens)).replace(" ", "") == text.lower().replace(" ", "")


def test_a_person_alone_is_told_of_their_parts_and_their_own_negatives(models: Models, two_people: RenderRequest) -> None:
    ana = replace(
        two_people.characters[0], negative_prompt="hat", part_prompts={"head": "green hair", "hands": " ", "feet": "red boots"},
        loras=(Lora(name="ana"),),
    )  # fmt: skip
    request = replace(
        two_people, negative_prompt="blurry", loras=(Lora(name="clay"),), characters=(ana, two_people.characters[1])
    )
    person = next(one for one in gather_people(request) if one.character.name == "Ana")
    alone = describe_alone(models, request, person, centre(person.keypoints, 64, 0.8))
    assert (alone.prompt, alone.negative_prompt) == ("a person with a red shirt, green hair, red boots", "blurry, hat")
    assert alone.pose().any() and alone.pose().dtype == np.uint8 and dict(alone.loras) == {"ana": 1, "clay": 1}
    joints = (replace(ana.keypoints[0], state="occluded", hidden_by="own_head"), *ana.keypoints[1:])
    (away,) = gather_people(replace(request, characters=(replace(ana, keypoints=joints),)))

    def posed(hidden_joints: HiddenJoints) -> bytes:
        settings = replace(request.settings, hidden_joints=hidden_joints)
        at = centre(away.keypoints, 64, 0.8)
        return describe_alone(models, replace(request, settings=settings), away, at).pose().tobytes()

    assert posed("keep") == alone.pose().tobytes() != posed("drop")  # seen from behind, without a nose
    manifest = replace(models.manifest, framing_prompt="the whole body")  # what the model set says of portraits
    framed = dataclasses.replace(models, model_set=replace(models.model_set, manifest=manifest))
    told = describe_alone(framed, replace(request, style="oil painting"), person, centre(person.keypoints, 64, 0.8))
    assert told.prompt == "a person with a red shirt, green hair, red boots, oil painting, the whole body"


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text", ["a city plaza", "", "a café, “quoted”"])
@pytest.mark.parametrize("negative", ["blurry", ""])
def test_sdxl_is_told_what_diffusers_tells_it(sdxl: Models, text: str, negative: str) -> None:
    """The last layer but one of both encoders side by side, and the second one's pooled text; "" is all zeros as a negative."""
    pipeline = of_diffusers(StableDiffusionXLPipeline, sdxl)
    assert pipeline.config["force_zeros_for_empty_prompt"]
    hidden, no_hidden, pooled, no_pooled = pipeline.encode_prompt(text, negative_prompt=negative or None)
    encoder = PromptEncoder(sdxl)
    told, not_told = encoder.encode(text), encoder.encode_negative(negative, 1)
    assert told.chunks == 1 and hidden.std() > 0.1 and pooled.std() > 0.01
    close(told.hidden, hidden[0])
    close(told.pooled, pooled[0])
    close(not_told.hidden, no_hidden[0])
    close(not_told.pooled, no_pooled[0])
    assert bool(not_told.hidden.any()) == bool(negative)


def test_an_empty_negative_prompt_is_encoded_where_the_base_model_says_so(sdxl: Models, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(sdxl.model_set.role_folder("base"), base)
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": False}))
    roles = sdxl.manifest.roles
    models = load_models(
        read_model_set(write_manifest(tmp_path / "set", roles | {"base": str(base)})), torch.device("cpu"), torch.float32
    )
    _, hidden, _, pooled = of_diffusers(StableDiffusionXLPipeline, models).encode_prompt("a city plaza")
    empty = PromptEncoder(models).encode_negative("", 1)
    assert hidden.any()
    close(empty.hidden, hidden[0])
    close(empty.pooled, pooled[0])


def test_a_blank_negative_prompt_is_an_empty_one(sdxl: Models) -> None:
    encoder = PromptEncoder(sdxl)
    assert not any(encoder.encode_negative(blank, 1).hidden.any() for blank in ("", " ", "\n"))


def test_what_was_encoded_for_a_canvas_is_gone_after_it(models: Models, two_people: RenderRequest) -> None:
    """40 people make hundreds of distinct prompts at 8192x8192, which are others at each level."""
    encoder = PromptEncoder(models)
    settings = resolve_settings(replace(two_people.settings, steps=1), models.model_set)
    request, encoded = replace(two_people, settings=settings), []
    encode = encoder._encode

    def note(text: str, at_least_chunks: int) -> Embedding:
        embedding = encode(text, at_least_chunks)
        encoded.append(weakref.ref(embedding))
        return embedding

    encoder._encode = note  # type: ignore[method-assign]
    draw_people_alone(models, request, gather_people(request), encoder, Progress(Spy(), 1, 1))
    assert len(encoded) >= 2 and all(embedding() is None for embedding in encoded)


def skipping(models: Models, layers: int) -> Models:
    return dataclasses.replace(models, model_set=replace(models.model_set, manifest=replace(models.manifest, clip_skip=layers)))


def test_layers_are_left_out_as_diffusers_does(sdxl: Models, sd15: Models) -> None:
    """Of a negative prompt as well, to which diffusers' own pipelines give the usual layer."""
    for models, kind in ((sdxl, StableDiffusionXLPipeline), (sd15, StableDiffusionPipeline)):
        usual, encoder = PromptEncoder(models), PromptEncoder(skipping(models, 1))
        device = {} if kind is StableDiffusionXLPipeline else {"device": torch.device("cpu"), "num_images_per_prompt": 1}
        guided = {"do_classifier_free_guidance": False, "clip_skip": 1}
        pipeline = of_diffusers(kind, models)
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder  # where diffusers 0.42 looks for the norm in vain
        hidden = pipeline.encode_prompt("a city plaza", **device, **guided)[0]
        close(encoder.encode("a city plaza").hidden, hidden[0])
        assert not torch.allclose(encoder.encode("a city").hidden, usual.encode("a city").hidden, atol=1e-2)
        assert not torch.allclose(encoder.encode_negative("a", 1).hidden, usual.encode_negative("a", 1).hidden, atol=1e-2)
        with pytest.raises(
            ModelSetError, match=r"has a clip_skip of 9, but its text encoders have layers for \d at most: write"
        ):
            skipping(models, 9).model_set.check()


@pytest.mark.parametrize("negative", ["blurry", ""])
def test_stable_diffusion_1_5_is_told_what_diffusers_tells_it(sd15: Models, negative: str) -> None:
    """The last layer, normed; "" is a text as any other."""
    pipeline = of_diffusers(StableDiffusionPipeline, sd15, "euler")
    hidden, no_hidden = pipeline.encode_prompt("a city plaza", torch.device("cpu"), 1, True, negative)
    encoder = PromptEncoder(sd15)
    assert hidden.std() > 0.1 and no_hidden.any()
    close(encoder.encode("a city plaza").hidden, hidden[0])
    close(encoder.encode_negative(negative, 1).hidden, no_hidden[0])
