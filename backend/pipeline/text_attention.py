"""What cross-attention makes of a prompt, its keys and values: once per prompt and layer, not once per view and step.

An HcP layer, where there is one, adds a second map of the words about people (arXiv 2403.05239).

They depend on neither the noise nor the timestep, and most views of a large canvas share a few prompts. Whose text a row is
travels as the attribute `texts` of the tensor that `stack_hidden` makes: the networks hand it on to their layers as it is, and
a copy, which would lack the attribute, is refused.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn
from torch.nn import functional

from ..models.hcp import cross_attention
from .prompts import Embedding

MOST_CHUNKS = 32  # of all texts that are kept; SDXL's UNet and ControlNet take 38 MB of the device for one


def stack_hidden(texts: list[Embedding], dtype: torch.dtype) -> Tensor:
    """(B, tokens, C) of texts with equally many chunks; the tensor says whose each row is, for layers that know them."""
    hidden_states = torch.stack([text.hidden for text in texts]).to(dtype)
    hidden_states.texts = texts  # type: ignore[attr-defined]
    return hidden_states


@dataclass(frozen=True)
class Projected:
    """Of a text in one layer. keys, values: (heads, tokens, d).

    prior: keys and values likewise by which its human-centric words are attended to a second time, where an HcP layer has any.
    """

    keys: Tensor
    values: Tensor
    prior: tuple[Tensor, Tensor] | None = None


class TextAttention:
    """Takes the place of the processor of one cross-attention layer.

    kept: whether what is made of a text is kept. hcp_scale: weight of the map of an HcP layer, where there is one.
    """

    def __init__(self, kept: bool, hcp_scale: float) -> None:
        self.kept, self.hcp_scale = kept, hcp_scale
        self._projected: dict[int, Projected] = {}

    def project(self, attention: Attention, text: Embedding) -> None:
        if self.kept and id(text) not in self._projected:
            self._projected[id(text)] = self._project(attention, text)

    def _project(self, attention: Attention, text: Embedding) -> Projected:
        keys, values = project_text(attention, text.hidden)
        hcp = getattr(attention, "hcp", None)
        if hcp is None or not self.hcp_scale or text.human is None:
            return Projected(keys, values)
        # (1 - s) M + s M_h in the columns of human-centric words, by two attentions without either map
        of_people = self.hcp_scale * values * text.human[:, None].to(values.dtype)
        prior_keys = split_heads(hcp(text.hidden.to(keys.dtype), text.human), attention.heads)
        return Projected(keys, values - of_people, (prior_keys, of_people))

    def __call__(
        self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any
    ) -> Tensor:
        texts = getattr(encoder_hidden_states, "texts", None)
        if texts is None:
            raise ValueError(
                "Cross-attention that knows its texts was given a tensor without the attribute `texts`, which says whose each "
                "row is: give the network what stack_hidden returns, not a copy, or leave knowing_texts."
            )
        rows = [self._projected[id(text)] if self.kept else self._project(attention, text) for text in texts]
        keys, values = torch.stack([row.keys for row in rows]), torch.stack([row.values for row in rows])
        query = split_heads(attention.to_q(hidden_states), attention.heads)
        seen = functional.scaled_dot_product_attention(query, keys, values)
        if any(row.prior for row in rows):
            none = torch.zeros_like(rows[0].keys)
            prior = [row.prior or (none, none) for row in rows]  # values of 0 add nothing
            prior_keys, prior_values = (torch.stack(part) for part in zip(*prior, strict=True))
            seen = seen + functional.scaled_dot_product_attention(query, prior_keys, prior_values)
        return attention.to_out[0](seen.transpose(1, 2).flatten(2))  # type: ignore[index]


@contextmanager
def knowing_texts(
    networks: Iterable[nn.Module], texts: Iterable[Embedding], hcp_scale: float = 0.0
) -> Iterator[Callable[[list[Embedding]], None]]:
    """Within, the cross-attention of `networks` looks up `texts`, and takes no others; afterwards they are as they were.

    Yields a function that computes the keys and values of some of them, to be called while the LoRAs are active with which they
    were encoded. texts: told apart by being other objects, which live as long as this does. Of texts with more chunks than
    MOST_CHUNKS together none are kept: each call projects what it is given, as ever. hcp_scale: weight, 0 to 1, of the map of
    layers that have an HcP layer (models/hcp.py).
    """
    distinct = {id(text): text for text in texts}.values()
    few = sum(text.chunks for text in distinct) <= MOST_CHUNKS
    plain = [layer for network in networks for layer in plain_cross_attention(network)]
    layers = [layer for layer in plain if few or (hcp_scale and hasattr(layer, "hcp"))]
    before = [layer.processor for layer in layers]
    known = [TextAttention(few, hcp_scale) for _ in layers]

    def project(some: list[Embedding]) -> None:
        for layer, processor in zip(layers, known, strict=True):
            for text in some:
                processor.project(layer, text)

    try:
        for layer, processor in zip(layers, known, strict=True):
            layer.processor = processor  # type: ignore[assignment]
        yield project
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor


def plain_cross_attention(network: nn.Module) -> list[Attention]:
    """Layers that do nothing but project, attend and project, as those of SDXL; none of a network with compiled blocks, which
    would be compiled anew for every batch."""
    if is_compiled(network):
        return []
    return [
        layer
        for layer in cross_attention(network).values()
        if type(layer.processor) is AttnProcessor2_0  # one of a subclass does something of its own
        and not (layer.norm_cross or layer.residual_connection)
        and all(norm is None for norm in (layer.group_norm, layer.spatial_norm, layer.norm_q, layer.norm_k))
        and layer.rescale_output_factor == 1
    ]


def project_text(attention: Attention, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, (heads, tokens, d) each, of the hidden states (tokens, C) of a text."""
    layers: Any = (attention.to_k, attention.to_v)
    keys, values = (split_heads(layer(hidden.to(layer.weight.dtype)), attention.heads) for layer in layers)
    return keys, values


def split_heads(projected: Tensor, heads: int) -> Tensor:
    """(..., tokens, heads * d) to (..., heads, tokens, d)."""
    return projected.unflatten(-1, (heads, -1)).transpose(-3, -2)


def is_compiled(network: nn.Module) -> bool:
    """Whether torch runs any part of it as code of its own, which no exchanged processor is seen in."""
    return any(getattr(module, "_compiled_call_impl", None) is not None for module in network.modules())
