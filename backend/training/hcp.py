"""Train HcP layers (Wang et al. 2024, arXiv 2403.05239) on a model set that stays as it is.

They learn from the error of the velocity, and from the human-centric alignment loss: where a cell attends to a word about
people by their keys shall be where bodies are in the pose picture, whichever words those are. How much this counts depends on
noise and depth: the lower half of the UNet counts most in the noisiest steps, the middle in between, the upper half at the end.

Chosen here, since the paper was not at hand or does not say: the three cosines, the weight of the loss, and how a map of
features becomes comparable with attention (the mean over channels at the attention's size, raw cosine similarity).
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTokenizer, ResNetModel

from ..models.hcp import HcpConfig, attach_hcp, cross_attention
from ..models.weights import load_whole
from ..pipeline.human_words import mark_human
from ..pipeline.text_attention import split_heads
from .checkpoints import Ema, Steps, half_precision, set_rate, step_random
from .denoiser import Denoiser, build_scheduler
from .diffusion import weigh_error
from .latents import Batch, LatentSet, draw_batch, halve
from .under_way import Run

_STAGE = 6
_TIMESTEPS = 1000
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Half = Literal["down_blocks", "mid_block", "up_blocks"]


class HcpSettings(msgspec.Struct, frozen=True):
    """What is trained and how. scale: of the layers' map while they are trained, as `hcp_scale` in use."""

    config: HcpConfig = HcpConfig()
    scale: float = 0.1
    alignment: float = 0.1  # weight of the alignment loss
    steps: int = 1500
    learning_rate: float = 1e-3
    flat: float = 0.5  # share of the steps before the learning rate starts to fall
    batch: int = 8
    halved_share: float = 0.6  # of the batches: at half size, four times cheaper
    ema_decay: float = 0.99


class Reference(Protocol):
    """Where bodies are, as far as a pose picture tells."""

    def __call__(self, poses: Tensor, side: int) -> Tensor:
        """float (B, side * side), not negative. poses: uint8 (B, 3, h, w)."""
        ...


def limbs(poses: Tensor, side: int) -> Tensor:
    """How much of each cell limbs and joints cover, a little blurred: needs no network."""
    covered = F.adaptive_avg_pool2d((poses.amax(1, keepdim=True) > 0).float(), side)
    return F.avg_pool2d(covered, 3, 1, 1, count_include_pad=False).flatten(1)


class ResnetFeatures:
    """The paper's reference: features of the pose picture in a ResNet that was trained on photographs, as ResNet50."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """folder: in transformers' format. Raises ModelSetError for weights that are another network's."""
        self.net = (
            load_whole(ResNetModel.from_pretrained, folder, local_files_only=True).to(device).eval().requires_grad_(False)
        )

    @torch.no_grad()
    def __call__(self, poses: Tensor, side: int) -> Tensor:
        mean, deviation = (torch.tensor(values, device=poses.device)[:, None, None] for values in _IMAGENET)
        stages = self.net((poses.float() / 255 - mean) / deviation, output_hidden_states=True).hidden_states[1:]
        maps = min(stages, key=lambda stage: (stage.shape[-1] < side, abs(stage.shape[-1] - side)))
        return F.interpolate(maps.float().mean(1, keepdim=True), (side, side), mode="bilinear").clamp(min=0).flatten(1)


def half_of(name: str) -> Half:
    """The part of a UNet that the layer called `name` is in."""
    return next(half for half in ("down_blocks", "mid_block", "up_blocks") if name.startswith(half))


def stage_weight(half: Half, timesteps: Tensor) -> Tensor:
    """How much the alignment counts, 0 to 1: a cosine over the noise, by depth. timesteps: (B,), 999 for pure noise."""
    noise = timesteps.float() / (_TIMESTEPS - 1)
    away = {"down_blocks": noise - 1, "mid_block": 2 * noise - 1, "up_blocks": noise}[half]
    return (away * math.pi / 2).cos()


class HcpAttention:
    """The processor of a layer in training: both maps are there, and that of the HcP layer is noted."""

    def __init__(self, name: str, scale: float, human: Tensor, noted: dict[str, Tensor]) -> None:
        """human: (B, tokens), 1 for human-centric words. noted: gets the map (B, cells, tokens), the mean over heads."""
        self.name, self.scale, self.human, self.noted = name, scale, human, noted

    def __call__(self, attention: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any) -> Tensor:
        text = encoder_hidden_states
        projected = attention.to_q(hidden_states), attention.to_k(text), attention.to_v(text)
        query, keys, values = (split_heads(one, attention.heads) for one in projected)
        prior_keys = split_heads(attention.hcp(text, self.human), attention.heads)
        own, prior = ((query @ one.transpose(-1, -2) * attention.scale).float().softmax(-1) for one in (keys, prior_keys))
        self.noted[self.name] = prior.mean(1)
        seen = own + self.scale * self.human[:, None, None] * (prior - own)
        return attention.to_out[0]((seen.to(values.dtype) @ values).transpose(1, 2).flatten(2))


@contextmanager
def attending(unet: nn.Module, scale: float, human: Tensor) -> Iterator[dict[str, Tensor]]:
    """Within, the UNet attends with its HcP layers; yields their maps by name, of the last run."""
    noted: dict[str, Tensor] = {}
    layers = cross_attention(unet)
    before = {name: layer.processor for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            layer.processor = HcpAttention(name, scale, human, noted)  # type: ignore[assignment]
        yield noted
    finally:
        for name, layer in layers.items():
            layer.processor = before[name]


def alignment_loss(maps: dict[str, Tensor], human: Tensor, bodies: dict[int, Tensor], timesteps: Tensor) -> Tensor:
    """The mean over layers and views of 1 - the cosine of each human-centric word's map and the bodies, weighted by stage.

    maps: (B, cells, tokens) by layer. human: (B, tokens). bodies: (B, cells) by the number of cells. Views without such words
    or without anybody count 0.
    """
    losses = []
    for name, attended in maps.items():
        body = bodies[attended.shape[1]]
        alike = F.cosine_similarity(attended, body[:, :, None], dim=1)  # (B, tokens)
        words = human.sum(1)
        apart = ((1 - alike) * human).sum(1) / words.clamp(min=1)
        losses.append((stage_weight(half_of(name), timesteps) * apart * (body.amax(1) > 0)).mean())
    return torch.stack(losses).mean()


def train_hcp(
    run: Run, data: LatentSet, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], denoiser: Denoiser, settings: HcpSettings,
    line_width_px: int, reference: Reference, milestone: Callable[[nn.ModuleDict], None],
) -> nn.ModuleDict:  # fmt: skip
    """Return the averaged layers, by name. milestone: called with them at each checkpoint but that of the last step."""
    torch.manual_seed(run.seed)
    denoiser.to(run.device).eval().requires_grad_(False)
    layers = attach_hcp(denoiser.unet, settings.config)
    optimizer = torch.optim.AdamW(layers.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    ema = Ema(layers, settings.ema_decay)
    alphas = build_scheduler().alphas_cumprod.to(run.device)
    of_people = mark_vocabulary(tokenizers[0]).to(run.device)

    def average() -> nn.ModuleDict:
        averaged = copy.deepcopy(layers)
        ema.copy_to(averaged)
        return averaged

    left = Steps(run, "hcp", layers, ema, optimizer, settings.steps, 250, lambda: milestone(average()))
    for step in left:
        numbers, noise = step_random(run, _STAGE, step)
        batch = draw_batch(data, tokenizers, numbers, settings.batch, data.latents.shape[-1], line_width_px)
        batch = (halve(batch) if numbers.random() < settings.halved_share else batch).to(run.device)
        set_rate(optimizer, settings.learning_rate, step, settings.steps, warm_up=50, flat=settings.flat)
        human = of_people[batch.tokens[0]].flatten(1) * batch.kept_text[:, None]
        epsilon = torch.randn(batch.latents.shape, generator=noise, device=run.device)
        with half_precision(run.device), attending(denoiser.unet, settings.scale, human) as maps:
            velocity = weigh_error(predictor(denoiser, batch), batch.latents, epsilon, alphas[batch.timesteps], batch.weights)
        sides = {attended.shape[1]: round(attended.shape[1] ** 0.5) for attended in maps.values()}
        bodies = {cells: reference(batch.poses, side) for cells, side in sides.items()}
        aligned = alignment_loss(maps, human, bodies, batch.timesteps)
        left.learn(velocity + settings.alignment * aligned)
        if (step + 1) % 10 == 0:
            told = {"loss": float(velocity.detach()), "alignment": float(aligned.detach())}
            run.report({"stage": "hcp", "step": step + 1, "of": settings.steps} | told)
    return average()


def mark_vocabulary(tokenizer: CLIPTokenizer) -> Tensor:
    """float (words,), 1 for the tokens that are a human-centric word by themselves: all, where each word is one token."""
    return torch.tensor([mark_human(tokenizer, [number])[0] for number in range(len(tokenizer))], dtype=torch.float32)


def predictor(denoiser: Denoiser, batch: Batch) -> Callable[[Tensor], Tensor]:
    """Noisy latents to their velocity, as the denoiser is told of the batch."""
    with torch.no_grad():
        states, pooled = denoiser.text(batch.tokens)

    def predict(noisy: Tensor) -> Tensor:
        poses = batch.poses.float() / 255
        return denoiser(noisy, batch.timesteps, states, pooled, batch.kept_text, poses, batch.kept_pose, batch.sizes)

    return predict
