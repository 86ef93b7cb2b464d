"""Prompts reach the networks whole: any length, any script, each person's own negative prompt and parts."""

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet, choose_model_set
from beyondscene.backend.pipeline.instances import centre, describe_alone
from beyondscene.backend.pipeline.prompts import PromptEncoder, cannot_read, split_tokens
from beyondscene.backend.planning.people import gather_people
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace
from transformers import CLIPTokenizer

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
    first, other = (encoder.encode(letters + last).hidden.unflatten(0, (3, 77)) for last in ("b", "c"))
    assert torch.equal(first[:2], other[:2]) and not torch.equal(first[2], other[2])


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_is_read_letter_by_letter(tokenizers: list[CLIPTokenizer], text: str) -> None:
    for tokenizer in tokenizers:
        tokens = [token for chunk in split_tokens(tokenizer, text) for token in chunk]
        assert not any(cannot_read(tokenizer, word) for word in text.split())
        assert tokenizer.bos_token_id not in tokens and tokenizer.eos_token_id not in tokens
        assert str(tokenizer.decode(tokens)).replace(" ", "") == text.lower().replace(" ", "")


def test_a_person_alone_is_told_of_their_parts_and_their_own_negatives(models: Models, two_people: RenderRequest) -> None:
    ana = replace(
        two_people.characters[0], negative_prompt="hat", part_prompts={"head": "green hair", "hands": " ", "feet": "red boots"}
    )
    request = replace(two_people, negative_prompt="blurry", characters=(ana, two_people.characters[1]))
    person = next(one for one in gather_people(request) if one.character.name == "Ana")
    alone = describe_alone(models, request, person, centre(person.keypoints, 64, 0.8))
    assert (alone.prompt, alone.negative_prompt) == ("a person with a red shirt, green hair, red boots", "blurry, hat")
    assert alone.pose.any() and alone.pose.dtype == np.uint8
