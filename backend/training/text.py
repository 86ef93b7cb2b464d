"""Build the text encoders, and train them to say from a caption alone who wears what.

SDXL's text encoders come trained from CLIP. With untrained ones a UNet has to learn at once what words mean, which word
belongs to which, and where they belong in the picture; it then takes captions for bags of colours for a long time.
"""

from typing import cast, get_args

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..mannequins.looks import (
    GARMENT_COLOURS,
    HAIR_COLOURS,
    SCENE_PHRASES,
    SCENES,
    Garment,
    HairLength,
    Look,
    draw_look,
    write_caption,
)
from ..pipeline.prompts import mark_chunks, split_tokens
from .checkpoints import Ema, Steps, set_rate, step_random
from .tokenizer import MAX_TOKENS
from .under_way import Run

_STAGE = 4
_PEOPLE = 3  # whose looks are asked for, from left to right
_GARMENTS, _LENGTHS, _COLOURS = get_args(Garment), get_args(HairLength), tuple(GARMENT_COLOURS)
_ANSWERS = {  # what is asked of each person, and how many answers there are; hat and prop may be absent
    "shirt": len(_COLOURS), "trousers": len(_COLOURS), "hair": len(HAIR_COLOURS), "garment": len(_GARMENTS),
    "hair_length": len(_LENGTHS), "hat": len(_COLOURS) + 1, "prop": len(_COLOURS) + 1,
}  # fmt: skip
_UNTOLD = -1  # the answer where a caption is silent: no loss


class TextSettings(msgspec.Struct, frozen=True):
    """How the text encoders are built and trained."""

    widths: tuple[int, int] = (64, 96)
    layers: tuple[int, int] = (3, 3)
    steps: int = 1000
    batch: int = 64
    learning_rate: float = 2e-3


class TextEncoders(nn.Module):
    """The two text encoders of SDXL, side by side."""

    def __init__(self, settings: TextSettings, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.first = CLIPTextModel(_configure(settings, 0, tokenizer, cast(int, tokenizer.eos_token_id)))
        self.second = CLIPTextModelWithProjection(_configure(settings, 1, tokenizer, 0))
        for module in self.modules():
            if isinstance(module, nn.Embedding):  # CLIP's own initial values are so small that they take long to be heard
                nn.init.normal_(module.weight, std=0.15)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states (B, chunks * MAX_TOKENS, d1 + d2) and the first chunk's pooled embedding (B, d2).

        tokens: int (2, B, chunks, MAX_TOKENS), for either encoder. The states are the last but one, as in SDXL.
        """
        count, chunks = tokens.shape[1:3]
        encoders = (self.first, self.second)
        outputs = [
            encoder(part.flatten(0, 1), output_hidden_states=True) for encoder, part in zip(encoders, tokens, strict=True)
        ]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return states.reshape(count, chunks * MAX_TOKENS, -1), outputs[1].text_embeds.reshape(count, chunks, -1)[:, 0]


class Questions(nn.Module):
    """Learned queries that attend to a caption's states as a UNet's cells do, each to answer one question."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        answers = {name: (count, _PEOPLE) for name, count in _ANSWERS.items()} | {"scene": (len(SCENES), 1)}
        self.queries = nn.ParameterDict({name: nn.Parameter(torch.randn(people, 32)) for name, (_, people) in answers.items()})
        self.keys, self.values = nn.Linear(sum(widths), 32, bias=False), nn.Linear(sum(widths), 64, bias=False)
        self.attended = nn.ModuleDict({name: nn.Linear(64, count) for name, (count, _) in answers.items()})
        self.pooled = nn.ModuleDict({name: nn.Linear(widths[1], count) for name, (count, _) in answers.items()})

    def forward(self, states: Tensor, pooled: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return, per question, the answers' logits (B, people, answers) and those from the pooled embedding (B, answers).

        The pooled embedding answers for the first person only.
        """
        keys, values = self.keys(states), self.values(states)
        logits = {}
        for name, queries in self.queries.items():
            seen = F.scaled_dot_product_attention(queries.expand(len(states), -1, -1), keys, values)
            logits[name] = (self.attended[name](seen), self.pooled[name](pooled))
        return logits


def train_text(run: Run, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], settings: TextSettings) -> TextEncoders:
    """Return the averaged encoders."""
    torch.manual_seed(run.seed)
    model = nn.ModuleList((TextEncoders(settings, tokenizers[0]), Questions(settings.widths))).to(run.device)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    ema = Ema(model, 0.99)
    left = Steps(run, "text", model, ema, optimizer, settings.steps, 500)
    for step in left:
        numbers, _ = step_random(run, _STAGE, step)
        tokens, answers = draw_captions(tokenizers, numbers, settings.batch)
        states, pooled = model[0](tokens.to(run.device))
        logits = model[1](states, pooled)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=100)
        loss = _calm(states, pooled)
        right = []
        for name, (attended, from_pooled) in logits.items():
            truth = answers[name].to(run.device)
            loss = loss + F.cross_entropy(attended.flatten(0, 1), truth.flatten(), ignore_index=_UNTOLD)
            loss = loss + 0.3 * F.cross_entropy(from_pooled, truth[:, 0], ignore_index=_UNTOLD)
            right.append((attended.argmax(-1) == truth)[truth != _UNTOLD])
        left.learn(loss)
        if (step + 1) % 20 == 0:
            share = round(float(torch.cat(right).float().mean()), 3)
            measured = {"loss": float(loss.detach()), "right": share}
            run.report({"stage": "text", "step": step + 1, "of": settings.steps} | measured)
    ema.copy_to(model)
    return cast(TextEncoders, model[0]).eval()


def draw_captions(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], numbers: np.random.Generator, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return random captions as tokens (2, count, 1, MAX_TOKENS), and the answers they give.

    Answers: "scene" (count, 1) and one entry per question (count, people), _UNTOLD where the caption does not say.
    """
    captions: list[list[list[int]]] = []
    answers = {name: torch.full((count, _PEOPLE), _UNTOLD) for name in _ANSWERS} | {"scene": torch.full((count, 1), _UNTOLD)}
    while len(captions) < count:
        looks = [draw_look(numbers) for _ in range(numbers.choice(_PEOPLE + 1, p=(0.05, 0.55, 0.25, 0.15)))]
        scene = SCENES[int(numbers.integers(len(SCENES)))]
        caption = write_caption(scene, looks, numbers)
        chunks = split_tokens(tokenizers[0], caption)
        if len(chunks) > 1:
            continue
        row = len(captions)
        for person, look in enumerate(looks):
            for name, answer in _answer(look, caption).items():
                answers[name][row, person] = answer
        if any(phrase in caption for phrase in SCENE_PHRASES[scene]):
            answers["scene"][row, 0] = SCENES.index(scene)
        captions.append(chunks)
    return torch.stack([pad_chunks(tokenizer, captions) for tokenizer in tokenizers]), answers


def pad_chunks(tokenizer: CLIPTokenizer, captions: list[list[list[int]]]) -> Tensor:
    """Return token numbers, int (B, chunks, MAX_TOKENS), of captions split by `split_tokens`, as the pipeline pads them."""
    most = max(len(chunks) for chunks in captions)
    return torch.tensor([mark_chunks(tokenizer, [*chunks, *[[]] * (most - len(chunks))]) for chunks in captions])


def _answer(look: Look, caption: str) -> dict[str, int]:
    """What the caption says of this person; a hat or prop that it leaves out is absent."""
    hat = look.hat if f" {look.hat}" in caption else "none"
    prop = look.prop if f" {look.prop}" in caption else "none"
    return {
        "shirt": _COLOURS.index(look.shirt),
        "trousers": _COLOURS.index(look.trousers),
        "garment": _GARMENTS.index(look.garment),
        "hair": list(HAIR_COLOURS).index(look.hair) if "hair" in caption else _UNTOLD,
        "hair_length": _LENGTHS.index(look.hair_length) if "hair" in caption else _UNTOLD,
        "hat": _COLOURS.index(look.hat_colour) if hat != "none" else len(_COLOURS),
        "prop": _COLOURS.index(look.prop_colour) if prop != "none" else len(_COLOURS),
    }


def _calm(states: Tensor, pooled: Tensor) -> Tensor:
    """Penalise states far above unit size: queries of a UNet that meet large keys attend to one token and learn no more."""
    return (
        0.1 * (states.square().mean(-1) - 1).clamp(min=0).square().mean()
        + 0.01 * (pooled.square().mean(-1) - 1).square().mean()
    )


def _configure(settings: TextSettings, which: int, tokenizer: CLIPTokenizer, pad: int) -> CLIPTextConfig:
    width = settings.widths[which]
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=settings.layers[which],
        num_attention_heads=width // 32,
        projection_dim=width,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=cast(int, tokenizer.bos_token_id),
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=pad,
    )
