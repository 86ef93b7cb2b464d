"""Training batches: what a crop is told fits what it shows, and captions of any length arrive whole."""

import numpy as np
import pytest
import torch
from beyondscene.backend.mannequins.looks import GARMENT_COLOURS, write_clauses
from beyondscene.backend.mannequins.scenes import draw_view
from beyondscene.backend.pipeline.prompts import split_tokens
from beyondscene.backend.training.binding import views_of_several
from beyondscene.backend.training.captions import draw_caption, pad_owners
from beyondscene.backend.training.latents import Batch, LatentSet, draw_batch, encode_renders, halve
from beyondscene.backend.training.renders import stack_views
from beyondscene.backend.training.tokenizer import MAX_TOKENS, build_tokenizers
from beyondscene.backend.training.vae import build_vae

TOKENIZERS = build_tokenizers()


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> LatentSet:
    framings = ("several", "crowd", "portrait")
    renders = stack_views([draw_view(np.random.default_rng(i), 128, framings[i % 3]) for i in range(9)])
    path = tmp_path_factory.mktemp("latents") / "latents.safetensors"
    return encode_renders(build_vae((16, 16, 16, 16)), renders, path, torch.device("cpu"))


def draw(latents: LatentSet, seed: int, cells: int) -> Batch:
    return draw_batch(latents, TOKENIZERS, np.random.default_rng(seed), 6, cells, 4)


def words(batch: Batch, row: int, encoder: int = 0) -> str:
    return str(TOKENIZERS[encoder].decode(batch.tokens[encoder, row].flatten(), skip_special_tokens=True))


def test_captions_of_crowds_arrive_whole_in_chunks(latents: LatentSet) -> None:
    batches = [draw(latents, seed, 16) for seed in range(60)]
    assert {batch.tokens.shape[2] for batch in batches} >= {1, 2}
    assert all(batch.tokens.shape[-1] == MAX_TOKENS for batch in batches)
    most = max((words(batch, row) for batch in batches if batch.tokens.shape[2] > 1 for row in range(6)), key=len)
    assert len(most.split()) > MAX_TOKENS
    assert sum(most.split().count(noun) for noun in ("person", "man", "woman")) >= 4
    tail = most.split()[-40:]
    assert {"hair"} & set(tail) or set(GARMENT_COLOURS) & set(tail)


def test_both_encoders_are_told_the_same(latents: LatentSet) -> None:
    batch = draw(latents, 3, 16)
    first, second = words(batch, 0), words(batch, 0, encoder=1)
    assert first == second.replace("!", "").strip()


def test_tokens_put_together_from_words_are_those_of_the_whole_caption(
    latents: LatentSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(200):
        looks, scene = list(latents.renders.looks[seed % 9]), latents.renders.scenes[seed % 9]
        chunks, owners = draw_caption(TOKENIZERS[0], scene, looks, np.random.default_rng(seed))
        clauses = write_clauses(scene, looks, np.random.default_rng(seed))
        assert chunks == split_tokens(TOKENIZERS[0], "".join(text for _, text in clauses))
        assert len(owners) == sum(map(len, chunks))
        for number, text in clauses:
            assert owners.count(number) == sum(
                len(chunk) for owner, other in clauses if owner == number for chunk in split_tokens(TOKENIZERS[0], other)
            ), text
    asked: list[str] = []
    monkeypatch.setattr("beyondscene.backend.training.captions.split_tokens", lambda _, text: asked.append(text) or [[]])
    draw_caption(TOKENIZERS[0], latents.renders.scenes[0], list(latents.renders.looks[0]), np.random.default_rng(0))
    assert not asked  # words that were met before are not tokenised again, which takes long


def test_owners_stand_where_their_tokens_do_in_every_chunk() -> None:
    captions = [[[11] * 60, [12] * 9], [[13] * 5]]
    owners = pad_owners([[1] * 60 + [2] * 9, [3] * 5], captions).unflatten(1, (2, MAX_TOKENS))
    assert owners[0, 0].tolist() == [0] + [1] * 60 + [0] * 16
    assert owners[0, 1].tolist() == [0] + [2] * 9 + [0] * 67
    assert owners[1].tolist() == [[0] + [3] * 5 + [0] * 71, [0] * 77]


def test_timesteps_span_the_schedule(latents: LatentSet) -> None:
    timesteps = torch.cat([draw(latents, seed, 8).timesteps for seed in range(20)])
    assert timesteps.min() < 150
    assert 900 < timesteps.max() <= 999


def test_halved_batches_show_the_same_at_half_size(latents: LatentSet) -> None:
    batch = draw(latents, 1, 16)
    small = halve(batch)
    assert small.latents.shape[-1] == 8
    assert torch.equal(small.several, views_of_several(small.owners, small.people)) and len(small.several)
    assert torch.allclose(small.latents.mean((2, 3)), batch.latents.mean((2, 3)), atol=1e-5)
    assert small.poses.shape[-2:] == (64, 64)
    assert small.poses.dtype == torch.uint8
    assert torch.equal(small.poses, batch.poses.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-1, -3)))
    lines = batch.poses.amax(1) > 64
    kept = torch.nn.functional.interpolate(small.poses.float(), scale_factor=2).amax(1)[lines]
    assert (kept > 64).all()  # no limb fades


def test_tokens_know_whom_they_are_about_and_cells_who_is_seen(latents: LatentSet) -> None:
    known = 0
    for seed in range(30):
        batch = draw(latents, seed, 16)
        tokens = batch.tokens[0].flatten(1)
        assert batch.owners.shape == tokens.shape
        for row, (numbers, owners) in enumerate(zip(tokens, batch.owners, strict=True)):
            people = sorted(set(owners.tolist()) - {0})
            assert people == list(range(1, len(people) + 1))
            clauses = [str(TOKENIZERS[0].decode(numbers[owners == person])) for person in people]
            assert all(sum(noun in clause.split() for noun in ("person", "man", "woman")) == 1 for clause in clauses)
            if people:
                assert set(batch.people[row].unique().tolist()) - {0} == set(people)
            if len(people) > 1:
                columns = [(batch.people[row] == person).nonzero()[:, 1].float().mean() for person in people]
                assert columns == sorted(columns)
                known += 1
    assert known > 20
