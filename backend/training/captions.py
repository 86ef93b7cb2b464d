"""Captions as tokens that know whom they are about."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from ..mannequins.looks import Look, write_clauses
from ..pipeline.prompts import cut_tokens, split_tokens
from .tokenizer import MAX_TOKENS

NOBODY = 0


def draw_caption(
    tokenizer: CLIPTokenizer, scene: str, looks: list[Look], numbers: np.random.Generator
) -> tuple[list[list[int]], list[int]]:
    """Return a random caption's tokens, in chunks as `split_tokens` gives them, and each token's owner.

    Owners: 1 + index into `looks`, NOBODY for the background and for what stands between people; all chunks in one list.
    """
    clauses = write_clauses(scene, looks, numbers)
    # Words do not depend on their neighbours, so those of clauses add up.
    owned = [(token, owner) for owner, text in clauses for word in text.split() for token in _split_word(tokenizer, word)]
    return cut_tokens(tokenizer, [token for token, _ in owned]), [owner for _, owner in owned]


def pad_owners(owners: list[list[int]], captions: list[list[list[int]]]) -> Tensor:
    """Return owners as int (B, chunks * MAX_TOKENS), in the places that `pad_chunks` gives to the tokens of `captions`."""
    rows = torch.full((len(owners), max(map(len, captions)), MAX_TOKENS), NOBODY)
    for row, whom, chunks in zip(rows, owners, captions, strict=True):
        pieces = torch.tensor(whom, dtype=rows.dtype).split([len(chunk) for chunk in chunks])
        for place, piece in zip(row, pieces, strict=False):
            place[1 : 1 + len(piece)] = piece
    return rows.flatten(1)


@lru_cache(maxsize=1 << 14)
def _split_word(tokenizer: CLIPTokenizer, word: str) -> tuple[int, ...]:
    """Token numbers of a word, with what stands against it. Captions have few words, and a tokenizer takes long to call."""
    return tuple(number for chunk in split_tokens(tokenizer, word) for number in chunk)
