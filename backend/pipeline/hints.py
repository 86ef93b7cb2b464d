"""What the ControlNet reads off a pose picture: once per view, not once per step.

The reading does not depend on the noise, and it is the costliest part of a ControlNet on its picture: it works at 8 times the
resolution of the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from torch import nn

KEPT_BYTES = 2 * 2**30  # 200 hints of SDXL, which are more than three times as large as their pictures


@dataclass(frozen=True)
class Unread:
    """A pose that is read at every step, since the hints of so many views would take too much host memory."""

    controlnet: ControlNetModel
    pose: Callable[[], np.ndarray]
    device: torch.device

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As of a tensor."""
        return _read(self.controlnet, self.pose(), self.device).to(*args, **kwargs)


Hint = torch.Tensor | Unread  # (channels, h, w), in host memory


@torch.inference_mode()
def read_poses(
    controlnet: ControlNetModel, poses: list[Callable[[], np.ndarray]], device: torch.device, kept_bytes: int = KEPT_BYTES
) -> list[Hint]:
    """One hint per pose. Empty ones of a size share theirs: most of a large canvas is empty.

    poses: each draws its picture, uint8 (H, W, 3), and none is kept.
    kept_bytes: beyond these, poses are left to be read when they are wanted; what comes of them is the same.
    """
    empty: dict[tuple[int, ...], Hint] = {}
    hints, kept = [], 0
    for pose in poses:
        picture = pose()
        shared = not picture.any()
        if shared and picture.shape in empty:
            hints.append(empty[picture.shape])
        elif kept >= kept_bytes:
            hints.append(Unread(controlnet, pose, device))
        else:
            hint = _keep(_read(controlnet, picture, device))
            kept += hint.nbytes
            hints.append(hint)
        if shared:
            empty[picture.shape] = hints[-1]
    return hints


@contextmanager
def taking_hints(controlnet: ControlNetModel) -> Iterator[None]:
    """Within, `controlnet` takes hints in place of pose pictures."""
    reader = controlnet.controlnet_cond_embedding
    controlnet.controlnet_cond_embedding = nn.Identity()  # type: ignore[assignment]
    try:
        yield
    finally:
        controlnet.controlnet_cond_embedding = reader


def _read(controlnet: ControlNetModel, pose: np.ndarray, device: torch.device) -> torch.Tensor:
    picture = torch.from_numpy(pose).permute(2, 0, 1)[None].to(device, controlnet.dtype) / 255
    turned = controlnet.config["controlnet_conditioning_channel_order"] == "bgr"
    hint = controlnet.controlnet_cond_embedding(picture.flip(1) if turned else picture)
    # the ControlNet turns what it is given once more, hints too
    return (hint.flip(1) if turned else hint)[0]


def _keep(hint: torch.Tensor) -> torch.Tensor:
    """In host memory, pinned, so that a step does not wait for the copy."""
    return hint.cpu().pin_memory() if hint.is_cuda else hint
