"""The vectors of embeddings in text encoders: what stands for each of them among a prompt's tokens."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .textual_inversions import EMBEDDING, KEY, tensors_of
from .weights import check_file

FIRST = 1 << 24  # the number of the first vector: no tokenizer has so many tokens


@dataclass(frozen=True)
class LearnedWords:
    """ids: the tokens of each embedding by its name, from FIRST on. vectors: float (tokens, channels), for each text encoder.

    Between two embeddings is a number that stands for nothing, so that they are not taken for one.
    """

    ids: Mapping[str, range] = field(default_factory=dict)
    vectors: tuple[Tensor, ...] = ()

    def split(self, text: str) -> Iterator[tuple[str, range]]:
        """`text` in pieces of words, each with the tokens of the embedding behind it; one that is not known is words."""
        start = 0
        for mark in EMBEDDING.finditer(text):
            if mark[1] in self.ids:
                yield text[start : mark.start()], self.ids[mark[1]]
                start = mark.end()
        yield text[start:], range(0)

    @contextmanager
    def heard(self, encoder: nn.Module, which: int, ids: Tensor) -> Iterator[Tensor]:
        """Within, `encoder`, text encoder number `which`, reads the vectors at their places where it is given what is yielded.

        ids: int (B, L). Yielded are those with token 0 in these places: some encoders take the largest for the end of the text.
        """
        if not self.ids:
            yield ids
            return
        learned = ids >= FIRST

        def put(_: nn.Module, __: object, embedded: Tensor) -> Tensor:
            vectors = self.vectors[which].to(embedded)
            return embedded.index_put((learned,), vectors[ids[learned] - FIRST])

        hook = encoder.get_input_embeddings().register_forward_hook(put)  # type: ignore[operator]
        try:
            yield ids.masked_fill(learned, 0)
        finally:
            hook.remove()


NO_WORDS = LearnedWords()


def read_words(paths: Mapping[str, Path], encoders: int) -> LearnedWords:
    """The embeddings among the files of a picture, those whose names begin with KEY, for so many text encoders.

    Raises ModelSetError for one that is not whole.
    """
    ids: dict[str, range] = {}
    tables: list[list[Tensor]] = [[] for _ in range(encoders)]
    end = FIRST
    for key, path in paths.items():
        if not key.startswith(KEY):
            continue
        check_file(path)  # which may have gone while the networks were loaded
        state = load_file(path)
        tensors = tensors_of({name: list(tensor.shape) for name, tensor in state.items()}, encoders)
        vectors = [torch.atleast_2d(state[name]).float() for name in tensors]
        ids[key.removeprefix(KEY)] = range(end, end + len(vectors[0]))
        end += len(vectors[0]) + 1
        for table, own in zip(tables, vectors, strict=True):
            table += (own, torch.zeros(1, own.shape[1]))
    return LearnedWords(ids, tuple(map(torch.cat, tables))) if ids else NO_WORDS
