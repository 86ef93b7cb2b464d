"""Prompts of any length to embeddings, each distinct prompt of a canvas once."""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from transformers import CLIPTokenizer

from ...protocol import RenderRequest, RequestError
from ...protocol.check import texts_of
from ...protocol.emphasis import read_emphasis
from ..models.learned_words import FIRST, NO_WORDS, LearnedWords
from ..models.load import Models
from ..models.loras import LoraScales
from .human_words import mark_human

BACKTRACK = 20  # tokens, as AUTOMATIC1111's comma_padding_backtrack; a person's prompt has about as many


@dataclass(frozen=True)
class Embedding:
    """hidden: (chunks * 77, channels), two encoders side by side. pooled: (channels of the last one,), of the first chunk.

    human: float (chunks * 77,), 1 for human-centric words; None where there are none, and in negative prompts, which know
        none.
    """

    hidden: torch.Tensor
    pooled: torch.Tensor
    chunks: int
    human: torch.Tensor | None = None


class PromptEncoder:
    """Encodes texts in chunks of the text encoder's length and concatenates them, so that nothing is cut off.

    Which LoRAs are active counts: a LoRA may change the text encoders.
    """

    def __init__(self, models: Models) -> None:
        self.models, self.words = models, models.adapters.words
        self.known: dict[tuple[str, int, LoraScales], Embedding] = {}
        self.negatives: dict[tuple[str, int, LoraScales], Embedding] = {}
        self.counts: dict[str, int] = {}
        self.zeros: dict[int, Embedding] = {}

    def encode(self, text: str, at_least_chunks: int = 1) -> Embedding:
        """The embedding of `text`, padded with empty chunks to `at_least_chunks`: a batch needs one length."""
        key = (text, at_least_chunks, self.models.adapters.active)
        if key not in self.known:
            self.known[key] = self._encode(text, at_least_chunks)
        return self.known[key]

    def encode_negative(self, text: str, chunks: int) -> Embedding:
        """As `encode`; a blank text is all zeros for models that were trained so."""
        if text.strip() or not self.models.zeros_for_empty_prompt:
            key = (text, chunks, self.models.adapters.active)
            if key not in self.negatives:
                self.negatives[key] = without_people(self.encode(text, chunks))
            return self.negatives[key]
        if chunks not in self.zeros:
            empty = self.encode("", chunks)
            self.zeros[chunks] = Embedding(torch.zeros_like(empty.hidden), torch.zeros_like(empty.pooled), empty.chunks)
        return self.zeros[chunks]

    def forget(self) -> None:
        """Embeddings that nobody holds leave the device. The next canvas has other views, and most of their texts are new."""
        self.known.clear()
        self.negatives.clear()
        self.zeros.clear()

    def check(self, request: RenderRequest) -> None:
        """Raise RequestError for a prompt of which the tokenizers would drop something.

        CLIP's own drop nothing: what is no word of theirs, in whatever script, is read byte by byte.
        """
        for whose, text in texts_of(request):
            pieces = (piece for words, _ in read_emphasis(text) for piece, _ in self.words.split(words))
            for word in (word for piece in pieces for word in piece.split()):
                if any(cannot_read(tokenizer, word) for tokenizer in self.models.tokenizers):
                    raise RequestError(
                        f"{whose} has '{word}', which the model set '{self.models.manifest.name}' cannot read: "
                        "write it in letters that the models know, such as English ones."
                    )

    def count_chunks(self, text: str) -> int:
        """How many chunks `text` takes; counted once, since many views say the same."""
        if text not in self.counts:
            self.counts[text] = max(len(split_tokens(tokenizer, text, self.words)) for tokenizer in self.models.tokenizers)
        return self.counts[text]

    @torch.inference_mode()
    def _encode(self, text: str, at_least_chunks: int) -> Embedding:
        tokenized = [split_tokens(tokenizer, text, self.words) for tokenizer in self.models.tokenizers]
        count = max(at_least_chunks, *(len(chunks) for chunks in tokenized))
        self.models.placement.bring(*self.models.text_encoders)
        hidden, pooled = [], None
        for which, (tokenizer, chunks) in enumerate(zip(self.models.tokenizers, tokenized, strict=True)):
            padded = chunks + [[]] * (count - len(chunks))
            states, pooled = self._run(which, padded)
            if any(weight != 1 for _, weight in read_emphasis(text)):
                empty, _ = self._run(which, [[]])
                weights = weigh_tokens(tokenizer, text, padded, self.words).to(states)
                states = torch.lerp(empty.repeat(count, 1), states, weights[:, None])
            hidden.append(states)
        assert pooled is not None
        return Embedding(torch.cat(hidden, -1), pooled, count, self._mark(tokenized[0], count))

    def _run(self, which: int, chunks: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """What text encoder number `which` says: states (chunks * 77, channels), and the first chunk's pooled output.

        SDXL was trained on the last layer but one, Stable Diffusion 1 and 2 on the last; this is normed, and what clip_skip
        has in its place, too.
        """
        encoder: Any = self.models.text_encoders[which]
        ids = torch.tensor(mark_chunks(self.models.tokenizers[which], chunks), device=self.models.device)
        with self.words.heard(encoder, which, ids) as heard:
            output = encoder(heard, output_hidden_states=True)
        two = len(self.models.text_encoders) > 1
        hidden = output.hidden_states[-1 - two - self.models.manifest.clip_skip]
        if not two:
            hidden = getattr(encoder, "text_model", encoder).final_layer_norm(hidden)
        pooled = output.text_embeds if "text_embeds" in output else output.pooler_output
        return hidden.flatten(0, 1), pooled[0]

    def _mark(self, chunks: list[list[int]], count: int) -> torch.Tensor | None:
        """Embedding.human, by the first tokenizer's `chunks`; the second one of SDXL splits words alike."""
        tokenizer = self.models.tokenizers[0]
        comma = cast(int, tokenizer.convert_tokens_to_ids(",</w>"))  # no embedding is known to be human
        marks = [mark_human(tokenizer, [comma if token >= FIRST else token for token in chunk]) for chunk in chunks]
        if not any(map(any, marks)):
            return None
        human = torch.zeros(count, tokenizer.model_max_length)
        for row, marked in zip(human, marks, strict=False):
            row[1 : 1 + len(marked)] = torch.tensor(marked)
        return human.flatten().to(self.models.device)


def without_people(embedding: Embedding) -> Embedding:
    """The same one where it marks no words, so that its keys are made once."""
    return embedding if embedding.human is None else replace(embedding, human=None)


def split_tokens(tokenizer: CLIPTokenizer, text: str, learned: LearnedWords = NO_WORDS) -> list[list[int]]:
    """Token ids of `text` without markers, in chunks that leave room for the two markers; at least one chunk.

    A marker that stands in `text` is read letter by letter, as everything else that is no word. Marks of emphasis are left out.
    """
    pieces = (read_tokens(tokenizer, words, learned) for words, _ in read_emphasis(text))
    return cut_tokens(tokenizer, [token for piece in pieces for token in piece])


def read_tokens(tokenizer: CLIPTokenizer, words: str, learned: LearnedWords = NO_WORDS) -> list[int]:
    ids: list[int] = []
    for piece, own in learned.split(words):
        ids += tokenizer(piece, add_special_tokens=False, split_special_tokens=True, truncation=False, verbose=False).input_ids
        ids += own
    return ids


def weigh_tokens(tokenizer: CLIPTokenizer, text: str, chunks: list[list[int]], learned: LearnedWords) -> torch.Tensor:
    """(chunks * 77,): how much each token of `text` counts, which is split into these `chunks`; markers and padding count 1."""
    weights = iter([weight for words, weight in read_emphasis(text) for _ in read_tokens(tokenizer, words, learned)])
    rows = torch.ones(len(chunks), tokenizer.model_max_length)
    for row, chunk in zip(rows, chunks, strict=True):
        row[1 : 1 + len(chunk)] = torch.tensor([next(weights) for _ in chunk])
    return rows.flatten()


def cut_tokens(tokenizer: CLIPTokenizer, ids: list[int]) -> list[list[int]]:
    """The chunks of `split_tokens` of what is split already. A full one ends with the comma among its last BACKTRACK tokens.

    Chunks are encoded apart: a colour that ends one would not know the garment that begins the next. No embedding is divided.
    """
    room, comma = tokenizer.model_max_length - 2, tokenizer.convert_tokens_to_ids(",</w>")
    chunks = []
    while len(ids) > room:
        end = next((end for end in range(room, room - BACKTRACK, -1) if ids[end - 1] == comma), room)
        while ids[end] > FIRST and ids[end - 1] == ids[end] - 1:
            end -= 1
        chunks.append(ids[:end])
        ids = ids[end:]
    return [*chunks, ids]


def cannot_read(tokenizer: CLIPTokenizer, word: str) -> bool:
    return tokenizer.unk_token_id in read_tokens(tokenizer, word)


def mark_chunks(tokenizer: CLIPTokenizer, chunks: list[list[int]]) -> list[list[int]]:
    """The chunks of `split_tokens` between their two markers, padded to the text encoder's length."""
    rows = [[tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id] for chunk in chunks]
    return [row + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(row)) for row in rows]
