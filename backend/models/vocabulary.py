"""The words that a model set knows, where those are few."""

import re

from ...protocol import RenderRequest
from .manifest import read_json
from .sets import ModelSet
from .textual_inversions import EMBEDDING


def unknown_words(request: RenderRequest, model_set: ModelSet) -> tuple[str, ...]:
    """Of its prompts and its style, those without a token of their own, in lower case; none where the set has words for all."""
    if not model_set.manifest.closed_vocabulary:
        return ()
    known = read_json(model_set.role_folder("base") / "tokenizer" / "tokenizer.json")["model"]["vocab"]
    people = [text for character in request.characters for text in (character.prompt, *character.part_prompts.values())]
    texts = EMBEDDING.sub("", " ".join((request.prompt, request.style, *people)))
    words = re.findall(r"[^\W\d_]+", texts.lower())
    return tuple(word for word in dict.fromkeys(words) if f"{word}</w>" not in known)
