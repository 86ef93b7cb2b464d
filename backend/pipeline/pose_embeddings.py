"""What the ControlNet reads off a pose picture: once per view, not once per step.

The reading does not depend on the noise, and it is the costliest part of a ControlNet on its picture: it works at 8 times the
resolution of the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..models.device_memory import is_out_of_memory
from ..models.union import AnyControlNet

KEPT_BYTES = 2 * 2**30  # 204 views of SDXL, or 128 where they are pinned


@dataclass(frozen=True)
class LazyPoseEmbedding:
    """A pose that is read at every step, since the embeddings of so many views would take too much host memory."""

    controlnet: AnyControlNet
    pose: Callable[[], np.ndarray]
    device: torch.device

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As of a tensor."""
        return _read(self.controlnet, self.pose(), self.device).to(*args, **kwargs)


PoseEmbedding = torch.Tensor | LazyPoseEmbedding  # (channels, h, w), in host memory


@torch.inference_mode()
def embed_poses(
    controlnet: AnyControlNet, poses: Sequence[Callable[[], np.ndarray]], device: torch.device, kept_bytes: int = KEPT_BYTES
) -> list[PoseEmbedding]:
    """One embedding per pose. Empty ones of a size share theirs: most of a large canvas is empty.

    poses: each draws its picture, uint8 (H, W, 3), and none is kept.
    kept_bytes: beyond these, poses are left to be read when they are wanted; what comes of them is the same.
    """
    empty: dict[tuple[int, ...], PoseEmbedding] = {}
    pose_embeddings, kept = [], 0
    for pose in poses:
        picture = pose()
        shared = not picture.any()
        if shared and picture.shape in empty:
            pose_embeddings.append(empty[picture.shape])
        elif kept >= kept_bytes:
            pose_embeddings.append(LazyPoseEmbedding(controlnet, pose, device))
        else:
            embedding = _pin(_read(controlnet, picture, device), device)
            kept += _taken_bytes(embedding)
            pose_embeddings.append(embedding)
        if shared:
            empty[picture.shape] = pose_embeddings[-1]
    return pose_embeddings


@contextmanager
def precomputed_pose_embeddings(controlnet: AnyControlNet) -> Iterator[None]:
    """Within, `controlnet` takes pose embeddings in place of pose pictures."""
    reader = controlnet.controlnet_cond_embedding
    controlnet.controlnet_cond_embedding = nn.Identity()  # type: ignore[assignment]
    try:
        yield
    finally:
        controlnet.controlnet_cond_embedding = reader


def _read(controlnet: AnyControlNet, pose: np.ndarray, device: torch.device) -> torch.Tensor:
    picture, dtype = _pin(torch.from_numpy(pose), device), next(controlnet.parameters()).dtype
    picture = picture.to(device, non_blocking=picture.is_pinned()).permute(2, 0, 1)[None].to(dtype) / 255
    turned = controlnet.config["controlnet_conditioning_channel_order"] == "bgr"
    embedding = controlnet.controlnet_cond_embedding(picture.flip(1) if turned else picture)
    # the ControlNet turns what it is given once more, embeddings too
    return (embedding.flip(1) if turned else embedding)[0]


def _pin(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """In host memory, pinned for a GPU, so that a step does not wait for the copy; as it is where no more may be pinned, which
    on WSL 2 is after some 500 MB."""
    tensor = tensor.cpu()
    try:
        return tensor.pin_memory() if device.type == "cuda" else tensor
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return tensor


def _taken_bytes(tensor: torch.Tensor) -> int:
    """Of host memory: torch rounds what it pins up to a power of two."""
    return 1 << (tensor.nbytes - 1).bit_length() if tensor.is_pinned() else tensor.nbytes
