"""Captions as tokens that know whom they are about."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from ..pipeline.prompts import split_tokens
from .renderer.looks import Look, write_clauses
from .tokenizer import MAX_TOKENS

NOBODY = 0


def draw_caption(
    tokenizer: CLIPTokenizer, scene: str, looks: list[Look], numbers: np.random.Generator
) -> tuple[list[list[int]], list[int]]:
    """Return a random caption's tokens, in chunks as `split_tokens` gives them, and each token's owner.

    Owners: 1 + index into `looks`, NOBODY for the background and for what stands between people; all chunks in one list.
    """
    clauses = write_clauses(scene, looks, numbers)
    owners = [owner for owner, text in clauses for _ in _split_whole(tokenizer, text)]
    return split_tokens(tokenizer, "".join(text for _, text in clauses)), owners


def pad_owners(owners: list[list[int]], chunks: int) -> Tensor:
    """Return owners as int (B, chunks * MAX_TOKENS), in the places that `pad_chunks` gives to their tokens."""
    room = MAX_TOKENS - 2
    flat = torch.tensor([row + [NOBODY] * (chunks * room - len(row)) for row in owners])
    return F.pad(flat.unflatten(1, (chunks, room)), (1, 1), value=NOBODY).flatten(1)


def _split_whole(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """Token numbers of a text of any length. Words do not depend on their neighbours, so those of clauses add up."""
    return [number for chunk in split_tokens(tokenizer, text) for number in chunk]
