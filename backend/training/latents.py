"""Encode renders to latents, and draw the denoiser's training batches from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from ..mannequins.raster import ARMS, HAIR, HEAD, THINGS
from ..mannequins.scenes import people_from_left
from ..pose import draw_pose
from .binding import views_of_several
from .captions import draw_caption, pad_owners
from .checkpoints import half_precision
from .renders import Renders, instances_of, regions_of
from .runs import digest_module
from .text import pad_chunks
from .vae import encode, to_tensor

CELL_PX = 8  # a latent covers 8 x 8 pixels
LONG_SHARE = 0.15  # of the batches, whose captions may take several chunks of the text encoders; half their views are crowds
SINGLES_SHARE = 0.35  # of the other batches: views of one person, from whom it is learnt which word belongs to which part
SEVERAL_SHARE = 0.35  # of them too: views of two people to _FEW, from whom it is learnt whose words are whose
_ENCODER = "encoder"  # in a file's metadata: a digest of the encoder that made it
_FEW = 3  # people whose caption mostly fits in one chunk


class LatentSet(msgspec.Struct, frozen=True):
    """Encoded renders, held in memory."""

    latents: npt.NDArray[np.float16]  # (N, 4, h, w)
    weights: npt.NDArray[np.float16]  # (N, h, w), loss weights, 1 on the background
    instances: npt.NDArray[np.uint8]  # (N, h, w), the person at the middle of each cell, 0 = nobody
    singles: npt.NDArray[np.int64]  # which views have one person
    several: npt.NDArray[np.int64]  # which have two people to _FEW
    crowds: npt.NDArray[np.int64]  # which views have more than _FEW people
    renders: Renders  # for keypoints, looks and scenes


class Batch(msgspec.Struct, frozen=True):
    """What the denoiser learns from in one step; see Denoiser.forward for the meanings."""

    latents: Tensor  # (B, 4, h, w), clean
    timesteps: Tensor  # int (B,)
    weights: Tensor  # (B, 1, h, w)
    tokens: Tensor  # int (2, B, chunks, MAX_TOKENS)
    owners: Tensor  # int (B, chunks * MAX_TOKENS), whom each token is about: 1, 2, ... from the left, 0 = nobody
    people: Tensor  # int (B, h, w), who is seen in each cell, in the same numbers
    several: Tensor  # int (R,), the views with several people to tell apart, as `views_of_several` finds them
    kept_text: Tensor  # (B,)
    poses: Tensor  # uint8 (B, 3, 8 h, 8 w)
    kept_pose: Tensor  # (B,)
    sizes: Tensor  # (B, 6)

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU reads by itself; a DataLoader asks for it."""
        return Batch(**{name: getattr(self, name).pin_memory() for name in self.__struct_fields__})

    def to(self, device: torch.device) -> Batch:
        """Return the batch in the memory of `device`."""
        return Batch(**{name: getattr(self, name).to(device, non_blocking=True) for name in self.__struct_fields__})


class Crop(msgspec.Struct, frozen=True):
    """One view of a batch, in numpy; as in Batch."""

    latents: npt.NDArray[np.float16]
    weights: npt.NDArray[np.float16]
    chunks: list[list[int]]  # of the caption's tokens
    owners: list[int]  # whom each of them is about
    people: npt.NDArray[np.int64]
    kept_text: float
    pose: npt.NDArray[np.uint8]  # (8 h, 8 w, 3)
    kept_pose: float
    sizes: tuple[float, ...]


@torch.no_grad()
def encode_renders(vae: AutoencoderKL, renders: Renders, path: Path, device: torch.device) -> LatentSet:
    """Return the latents of `renders`, from the file at `path` if this encoder made it, else written to it."""
    encoder = digest_module(vae.encoder)
    if not path.exists() or _encoder_of(path) != encoder:
        parts, batch = [], 64 if device.type == "cuda" else 8
        for first in range(0, len(renders.pictures), batch):
            with half_precision(device):
                latents = encode(vae, to_tensor(renders.pictures[first : first + batch], device)).mean
            parts.append(latents.to("cpu", torch.float16).contiguous().numpy())  # else safetensors would scramble channels-last
        instances = instances_of(renders.masks[:, CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX])
        arrays = {"latents": np.concatenate(parts), "weights": _weigh(renders), "instances": np.ascontiguousarray(instances)}
        save_file(arrays, path.with_suffix(".part"), {_ENCODER: encoder})
        path.with_suffix(".part").replace(path)
    people = np.array([len(looks) for looks in renders.looks])
    return LatentSet(
        **load_file(path),
        singles=np.flatnonzero(people == 1),
        several=np.flatnonzero((people > 1) & (people <= _FEW)),
        crowds=np.flatnonzero(people > _FEW),
        renders=renders,
    )


def draw_batch(
    data: LatentSet,
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
    numbers: np.random.Generator,
    count: int,
    cells: int,
    line_width_px: int,
) -> Batch:
    """Return a random batch of square crops, `cells` latents wide; captions name who is seen in the crop."""
    long = numbers.random() < LONG_SHARE
    anything = np.arange(len(data.latents))
    if long:
        some, share = data.crowds, 0.5
    else:
        kind = numbers.choice(3, p=(SINGLES_SHARE, SEVERAL_SHARE, 1 - SINGLES_SHARE - SEVERAL_SHARE))
        some, share = (data.singles, data.several, anything)[kind], 1.0
    crops: list[Crop] = []
    while len(crops) < count:
        index = int(numbers.choice(some if len(some) and numbers.random() < share else anything))
        crop = _draw_crop(data, index, tokenizers[0], numbers, cells, line_width_px, long)
        if crop is not None:
            crops.append(crop)
    # Stratified, and skewed towards the noisy end, where pose and colours are decided.
    strata = (np.arange(count) + numbers.random(count)) / count
    return _stack(crops, tokenizers, torch.from_numpy((1000 * strata**0.6).astype(np.int64)).clamp(max=999))


def _draw_crop(
    data: LatentSet,
    index: int,
    tokenizer: CLIPTokenizer,
    numbers: np.random.Generator,
    cells: int,
    line_width_px: int,
    long: bool,
) -> Crop | None:
    """Return a crop of view `index`; None where its caption takes several chunks and is not to be `long`.

    Nothing is cut off: a longer caption waits for a batch that has room for it.
    """
    top, left = _draw_corner(data.instances[index], cells, numbers) if cells < data.latents.shape[-1] else (0, 0)
    window = (slice(top, top + cells), slice(left, left + cells))
    instance = data.instances[index][window]
    looks, seen = data.renders.looks[index], people_from_left(instance)
    text = numbers.random()
    # The second tokenizer differs in what it pads with only.
    caption = draw_caption(tokenizer, data.renders.scenes[index], [looks[i] for i in seen], numbers)
    chunks, owners = ([[]], []) if text < 0.04 else caption
    if not long and len(chunks) > 1:
        return None
    return Crop(
        latents=data.latents[index][:, window[0], window[1]],
        weights=data.weights[index][window],
        chunks=chunks,
        owners=owners,
        people=_number_people(instance, seen),
        kept_text=0.0 if 0.04 <= text < 0.12 else 1.0,
        pose=_draw_poses(data.renders.keypoints[index], top, left, cells, line_width_px, numbers),
        kept_pose=0.0 if numbers.random() < (0.25 if seen else 0.4) else 1.0,
        sizes=_draw_sizes(numbers),
    )


def _stack(crops: list[Crop], tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], timesteps: Tensor) -> Batch:
    captions = [crop.chunks for crop in crops]
    owners = pad_owners([crop.owners for crop in crops], captions)
    people = torch.from_numpy(np.stack([crop.people for crop in crops]))
    return Batch(
        latents=torch.from_numpy(np.stack([crop.latents for crop in crops])).float(),
        timesteps=timesteps,
        weights=torch.from_numpy(np.stack([crop.weights for crop in crops])).float()[:, None],
        tokens=torch.stack([pad_chunks(tokenizer, captions) for tokenizer in tokenizers]),
        owners=owners,
        people=people,
        several=views_of_several(owners, people),
        kept_text=torch.tensor([crop.kept_text for crop in crops]),
        poses=torch.from_numpy(np.stack([crop.pose for crop in crops])).permute(0, 3, 1, 2),
        kept_pose=torch.tensor([crop.kept_pose for crop in crops]),
        sizes=torch.tensor(np.array([crop.sizes for crop in crops]), dtype=torch.float32),
    )


def halve(batch: Batch) -> Batch:
    """Return the batch at half size. A mean of latents is about the latent of the smaller picture, since they hold colours."""
    # Not `amax` over two axes, which takes eight times as long.
    rows, people = torch.maximum(batch.poses[..., ::2, :], batch.poses[..., 1::2, :]), batch.people[:, 1::2, 1::2]
    return msgspec.structs.replace(
        batch,
        latents=F.avg_pool2d(batch.latents, 2),
        weights=F.avg_pool2d(batch.weights, 2),
        people=people,
        several=views_of_several(batch.owners, people),
        poses=torch.maximum(rows[..., ::2], rows[..., 1::2]),  # a mean would fade the lines
    )


def _encoder_of(path: Path) -> str | None:
    with safe_open(path, "numpy") as file:
        return (file.metadata() or {}).get(_ENCODER)


def _weigh(renders: Renders) -> npt.NDArray[np.float16]:
    """People weigh more than the background, and small telling parts of them more again."""
    regions = regions_of(np.arange(256, dtype=np.uint8))  # of every byte that a mask may have
    table = np.where(regions == 0, 0, np.where(np.isin(regions, (HEAD, HAIR, ARMS, THINGS)), 4.0, 2.5)).astype(np.float32)
    count, height, width = renders.masks.shape
    weights = np.empty((count, height // CELL_PX, width // CELL_PX), np.float16)
    for row, mask in zip(weights, renders.masks, strict=True):
        row[:] = 1 + cv2.resize(table[mask], (width // CELL_PX, height // CELL_PX), interpolation=cv2.INTER_AREA)
    return weights


def _number_people(instance: npt.NDArray[np.uint8], seen: list[int]) -> npt.NDArray[np.int64]:
    """Return an instance mask with people numbered in the order of `seen`, from 1 on."""
    numbers = np.zeros(256, np.int64)
    numbers[np.array(seen, np.int64) + 1] = np.arange(1, len(seen) + 1)
    return numbers[instance]


def _draw_corner(instance: npt.NDArray[np.uint8], cells: int, numbers: np.random.Generator) -> tuple[int, int]:
    """Return the top left cell of a crop; four in five are centred near somebody."""
    side = instance.shape[0]
    centre = numbers.integers(0, side, size=2)
    occupied = np.argwhere(instance > 0)
    if len(occupied) and numbers.random() < 0.8:
        centre = occupied[numbers.integers(len(occupied))] + numbers.integers(-cells // 4, cells // 4 + 1, size=2)
    top, left = np.clip(centre - cells // 2, 0, side - cells)
    return int(top), int(left)


def _draw_poses(
    keypoints: npt.NDArray[np.float32], top: int, left: int, cells: int, line_width_px: int, numbers: np.random.Generator
) -> npt.NDArray[np.uint8]:
    people = keypoints[keypoints[:, :, 3].any(axis=1)][:, :, :3] - np.array((left * CELL_PX, top * CELL_PX, 0), np.float32)
    if numbers.random() < 0.1:  # exporters leave out what they cannot see
        people[:, :, 2] *= numbers.random(people.shape[:2]) > 0.08
    side_px = cells * CELL_PX
    return draw_pose(list(people), side_px, side_px, line_width_px)


def _draw_sizes(numbers: np.random.Generator) -> tuple[float, ...]:
    """Return SDXL's size conditions; some are random, so that the model learns to pay them no heed."""
    if numbers.random() < 0.85:
        return (256, 256, 0, 0, 256, 256)
    height, width = (int(64 * numbers.integers(2, 65)) for _ in range(2))
    return (height, width, int(numbers.integers(height)), int(numbers.integers(width)), height, width)
