"""Teach a UNet whose words are whose: of the words about people, a person's cells shall attend to the person's own.

A caption says who stands where by order alone ("a man with ..., a woman with ..."). From the error of the velocity it takes
long to learn that order, and until then two people in one view share their colours. The masks of renders say it outright.
"""

from functools import partial
from types import TracebackType
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .captions import NOBODY

_LEAST = 1e-4  # of the attention, so that the logarithm of none is finite


def views_of_several(owners: Tensor, people: Tensor) -> Tensor:
    """Return int (R,), which views have something to bind. On a GPU it would be waited for: ask before they go there.

    owners: int (B, tokens), whom each token is about. people: int (B, h, w), who is seen in each cell. 0 is nobody.
    At the end stand so many -1, for no view, that R is some quarters of B: few lengths, so that steps can be recorded.
    """
    rows = torch.nonzero((owners.amax(1) > 1) & (people.flatten(1).amax(1) > 0))[:, 0]
    return F.pad(rows, (0, -len(rows) % max(1, len(owners) // 4)), value=-1)


class Binding:
    """Watches the cross-attention in a UNet's middle and upper half for as long as it is entered.

    The lower half is left alone: a ControlNet's residuals join after it, so it cannot know yet who stands where.
    """

    def __init__(self, unet: UNet2DConditionModel, owners: Tensor, people: Tensor, rows: Tensor) -> None:
        """owners, people: as in `views_of_several`, which gives the rows."""
        self.unet, self.rows = unet, rows.clamp(min=0)
        self.owners, self.people = owners[self.rows], people[self.rows] * (rows >= 0)[:, None, None]  # NOBODY in no view
        self.losses: list[Tensor] = []
        self.hooks: list[RemovableHandle] = []

    def __enter__(self) -> "Binding":
        if len(self.rows):
            modules = self.unet.named_modules()
            watched = [part for name, part in modules if name.endswith("attn2") and not name.startswith("down_blocks")]
            self.hooks = [module.register_forward_pre_hook(self._watch, with_kwargs=True) for module in watched]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for hook in self.hooks:
            hook.remove()

    def loss(self) -> Tensor:
        """Return -log of the share of a cell's attention to people that is its own person's: the mean over cells and layers.

        Zero if no view has several people.
        """
        return torch.stack(self.losses).mean() if self.losses else torch.zeros((), device=self.owners.device)

    def _watch(self, attention: Attention, arguments: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        states, text = arguments[0][self.rows], named["encoder_hidden_states"][self.rows]
        split = partial(torch.unflatten, dim=-1, sizes=(attention.heads, -1))
        query, key = split(attention.to_q(states)), split(cast(nn.Module, attention.to_k)(text))
        logits = torch.einsum("bnhc,bthc->bhnt", query, key).float() * attention.scale
        weights = logits.softmax(-1).mean(1)  # (B, cells, tokens)
        stride = self.people.shape[-1] // round(weights.shape[1] ** 0.5)
        people = self.people[:, stride // 2 :: stride, stride // 2 :: stride].flatten(1)
        own = (weights * (self.owners[:, None] == people[:, :, None])).sum(-1)
        anyone = (weights * (self.owners[:, None] != NOBODY)).sum(-1)
        loss = -((own + _LEAST) / (anyone + _LEAST)).log()
        owned = people != NOBODY
        self.losses.append((loss * owned).sum() / owned.sum().clamp(min=1))
