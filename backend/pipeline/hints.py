"""What the ControlNet reads off a pose picture: once per view, not once per step.

The reading does not depend on the noise, and it is the costliest part of a ControlNet on its picture: it works at 8 times the
resolution of the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from diffusers import ControlNetModel
from torch import nn

Hint = torch.Tensor  # (channels, h, w), in host memory


@torch.inference_mode()
def read_poses(controlnet: ControlNetModel, poses: list[np.ndarray], device: torch.device) -> list[Hint]:
    """One hint per pose picture, uint8 (H, W, 3). Empty pictures of a size share theirs: most of a large canvas is empty."""
    empty: dict[tuple[int, ...], Hint] = {}
    hints = []
    for pose in poses:
        if pose.any():
            hints.append(_read(controlnet, pose, device))
            continue
        if pose.shape not in empty:
            empty[pose.shape] = _read(controlnet, pose, device)
        hints.append(empty[pose.shape])
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


def _read(controlnet: ControlNetModel, pose: np.ndarray, device: torch.device) -> Hint:
    picture = torch.from_numpy(pose).permute(2, 0, 1)[None].to(device, controlnet.dtype) / 255
    turned = controlnet.config["controlnet_conditioning_channel_order"] == "bgr"
    hint = controlnet.controlnet_cond_embedding(picture.flip(1) if turned else picture)
    # the ControlNet turns what it is given once more, hints too
    return (hint.flip(1) if turned else hint)[0].cpu()
