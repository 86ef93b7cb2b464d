"""The judge: one small network that finds people, their joints and their parts, and that no stage of the pipeline uses."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...protocol import Refusal
from ..mannequins.raster import REGIONS

JUDGE_FOLDER = Path(__file__).parent / "judge"
STRIDE = 4  # pixels per cell of the network's maps
OFFSET_PX = 32.0  # unit of the offsets, so that they are about 1
JOINTS = 18


class JudgeError(Refusal):
    """A judge cannot be used. The message says what is missing and the next step."""


class JudgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The file config.json beside the weights.

    widths: channels at strides 2, 4, 8, 16 and 32. neck: channels of the maps that the heads read.
    """

    format: int = 1
    widths: tuple[int, int, int, int, int] = (24, 48, 80, 128, 144)
    neck: int = 64
    blocks: tuple[int, int, int, int] = (1, 2, 2, 1)  # residual blocks at strides 4, 8, 16 and 32
    steps: int = 0  # of training; batches of `batch` pictures
    batch: int = 0


@dataclass(frozen=True)
class Found:
    """People in a picture. keypoints: float (N, 18, 2), px. scores: float (N,), 0 to 1."""

    keypoints: np.ndarray
    scores: np.ndarray


class Judge(Protocol):
    """Whoever looks at pictures: this project's network, or public ones."""

    name: str
    notes: tuple[str, ...]  # what it does without on this machine, a sentence each
    of_photographs: bool  # then what is held against the renderer's pixels (summary.AGAINST_RENDERS) says nothing

    def people(self, picture: np.ndarray) -> Found:
        """Everybody in `picture`, uint8 (H, W, 3)."""
        ...

    def regions(self, picture: np.ndarray, instances: np.ndarray) -> np.ndarray:
        """uint8 (h, w), index into REGIONS, at the judge's own scale of `picture`, uint8 (H, W, 3).

        instances: whole numbers (H, W), where each person of the plan is meant to be; person i is i + 1. Who looks at people
        one by one looks there.
        """
        ...

    def text_match(self, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray | None:
        """How well each picture, uint8 (H, W, 3) of any size, fits each text, cosines, float (pictures, texts).

        None from a judge who cannot read.
        """
        ...

    def preference(self, picture: np.ndarray, text: str) -> float | None:
        """How much people would like `picture` for `text`, on the scale of the judge's model; None from one who has none."""
        ...


class ChannelNorm(nn.LayerNorm):
    """Normalise the channels of each cell by themselves: a picture's size and surroundings change nothing."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), ChannelNorm(channels), nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1), ChannelNorm(channels),
        )  # fmt: skip

    def forward(self, cells: Tensor) -> Tensor:
        return nn.functional.silu(cells + self.layers(cells))


@dataclass(frozen=True)
class Maps:
    """The network's output at a quarter of the picture's resolution; logits where not said otherwise.

    people: (B, 1 + 18, h, w): the middles of trunks, then the joints. offsets: (B, 36, h, w): from the cell to the 18
    joints of the person whose trunk's middle is here, x and y, in OFFSET_PX. regions: (B, len(REGIONS), h, w).
    """

    people: Tensor
    offsets: Tensor
    regions: Tensor


class JudgeNet(nn.Module):
    """Fully convolutional: strided convolutions down to 1/32, back up by addition to 1/4, three heads.

    Finds people as points with offsets to their joints (Zhou et al. 2019, arXiv 1904.07850) and joints as heat.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        widths, neck = config.widths, config.neck
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2), ChannelNorm(widths[0]), nn.SiLU())
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, 2, 1), ChannelNorm(after), nn.SiLU(), *(Residual(after) for _ in range(blocks))
            )
            for before, after, blocks in zip(widths, widths[1:], config.blocks, strict=False)
        )
        self.side = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[1:])
        self.up = nn.ModuleList(nn.Sequential(nn.Conv2d(neck, neck, 3, padding=1), ChannelNorm(neck)) for _ in widths[2:])
        self.people = self._head(1 + JOINTS)
        self.offsets = self._head(2 * JOINTS)
        self.regions = self._head(len(REGIONS))
        nn.init.constant_(self.people[-1].bias, -4.0)  # type: ignore[arg-type]  # almost no cell is anybody's middle

    def _head(self, channels: int) -> nn.Sequential:
        neck = self.config.neck
        return nn.Sequential(nn.Conv2d(neck, neck, 3, padding=1), nn.SiLU(), nn.Conv2d(neck, channels, 1))

    def forward(self, pictures: Tensor) -> Maps:
        """pictures: float (B, 3, H, W), 0 to 1, sides multiples of 32."""
        cells = self.stem((pictures - 0.5) * 4)
        levels = []
        for stage, side in zip(self.down, self.side, strict=True):
            cells = stage(cells)
            levels.append(side(cells))
        merged = levels.pop()
        for up in self.up:
            finer = levels.pop()
            merged = nn.functional.silu(up(finer + nn.functional.interpolate(merged, scale_factor=2, mode="nearest")))
        return Maps(self.people(merged), self.offsets(merged), self.regions(merged))


def to_input(pictures: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W), 0 to 1, channels last in memory."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().div(255)


def save_net(net: JudgeNet, folder: Path) -> None:
    """Write weights in half precision and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(net.config)) + b"\n")


def load_net(folder: Path, device: torch.device) -> tuple[JudgeNet, str]:
    """The network in eval mode, and a short digest of its weights. Raises JudgeError where there is none."""
    weights = folder / "model.safetensors"
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=JudgeConfig)
        digest = hashlib.blake2b(weights.read_bytes(), digest_size=6).hexdigest()
    except FileNotFoundError as error:
        raise JudgeError(
            f"{folder} holds no judge: {Path(error.filename).name} is missing. Train one with "
            "`python -m beyondscene.backend.evaluation.train_judge --work DIR --out JUDGE`, or name its folder with --judge."
        ) from error
    except ValueError as error:  # what is no JSON, or no UTF-8
        raise JudgeError(f"{folder / 'config.json'} is not a judge's: {error}. Train the judge anew.") from error
    try:
        net = JudgeNet(config)
        net.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise JudgeError(f"{weights} does not fit its config.json: train the judge anew. ({type(error).__name__})") from error
    return net.to(device).to(memory_format=torch.channels_last).eval(), digest  # type: ignore[call-overload]
