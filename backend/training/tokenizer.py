"""Build the two CLIP tokenizers of the embedded model: one token for every word it was trained on."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from ..mannequins.looks import GARMENT_COLOURS, HAIR_COLOURS, SCENE_PHRASES, SCENES, draw_look, write_caption

MAX_TOKENS = 77
_BEGIN, _END, _FILL = "<|startoftext|>", "<|endoftext|>", "!"
_WORD_END = "</w>"

# Words that people use in such prompts. They have tokens of their own; the model has not seen them in training.
_COMMON_WORDS = """
a an the and or with without in on at of to from by for near behind beside under over between front back left right
one two three four five six seven eight nine ten several many few some each other another both all no not person
people man men woman women boy girl child children kid couple group crowd friend friends figure character adult young
old tall short big small large little slim strong happy sad smiling serious standing walking running sitting jumping
dancing waving cheering pointing kneeling lying looking holding talking playing working posing facing raising reaching
arms arm hands hand legs leg head face body eyes feet wearing dressed shirt shirts trousers pants jeans shorts skirt
dress jacket coat sweater hoodie suit tie uniform hat cap scarf gloves shoes boots sneakers socks glasses bag backpack
belt sleeves hair haired beard skin long curly straight bald red blue green yellow orange purple pink white grey gray
black brown blond blonde ginger golden silver dark light bright pale deep colourful colorful photo photograph picture
image painting drawing illustration render portrait scene view shot closeup wide full detailed high low quality
resolution realistic simple plain soft sharp blurry bad worst best masterpiece city town village plaza square street
road park garden field meadow forest woods jungle beach sea ocean lake river mountain mountains hill hills valley
desert dunes dune snow snowy ice rock rocks sand sandy grass grassy tree trees pine flower flowers sky cloud clouds
cloudy sun sunny sunset sunrise morning evening night day noon rain rainy fog foggy storm winter summer spring autumn
house houses building buildings tower bridge wall window door floor room indoor outdoor living kitchen office studio
background foreground landscape nature market station shop stage hall car bus bicycle boat dog cat horse bird ball
chair table bench bed sofa lamp fence path stairs water
"""


def build_tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Return the tokenizers of the first and the second text encoder; they differ in what they pad with."""
    vocabulary, merges = _train(_words())
    shared = {
        "vocab": vocabulary, "merges": merges, "model_max_length": MAX_TOKENS,
        "unk_token": _END, "bos_token": _BEGIN, "eos_token": _END,
    }  # fmt: skip
    return CLIPTokenizer(**shared, pad_token=_END), CLIPTokenizer(**shared, pad_token=_FILL)


def read_tokenizers(folder: Path) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Return the tokenizers of the model set in `folder`."""
    first, second = (CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2"))
    return first, second


def _words() -> list[str]:
    random = np.random.default_rng(0)
    captions = [write_caption(SCENES[i % len(SCENES)], [draw_look(random)], random) for i in range(400)]
    named = [" ".join((*GARMENT_COLOURS, *HAIR_COLOURS)), *(p for phrases in SCENE_PHRASES.values() for p in phrases)]
    text = " ".join((*captions, *named)).replace(",", " ").replace("-", " ")
    return sorted({*text.split(), *_COMMON_WORDS.split()})


def _train(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-level BPE vocabulary in which every word is one token and any text can be spelled."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=20000, min_frequency=1, end_of_word_suffix=_WORD_END, initial_alphabet=alphabet, show_progress=False,
        # Numbered here, or the trainer numbers them in an order that changes from process to process; ties between merges
        # are broken by number, so that a word would have another token in a resumed run.
        special_tokens=[symbol + _WORD_END for symbol in alphabet],
    )  # fmt: skip
    tokenizer.train_from_iterator(words, trainer)
    merges = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    symbols = [_FILL, *(symbol for symbol in alphabet if symbol != _FILL)]
    tokens = [*symbols, *(symbol + _WORD_END for symbol in symbols), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), _BEGIN, _END]
    return {token: number for number, token in enumerate(tokens)}, merges
