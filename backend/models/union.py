"""ControlNet-Union: one ControlNet of SDXL for poses, depth, lines and more. Ours is asked for poses alone."""

from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel

OPENPOSE = 0  # of the kinds of pictures that it was trained on, in both of its published versions
AnyControlNet = ControlNetModel | ControlNetUnionModel


class PoseUnion(ControlNetUnionModel):
    """Called as a ControlNet for poses is: with one picture, or with what `controlnet_cond_embedding` reads off it."""

    def forward(  # type: ignore[override]
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        *,
        controlnet_cond: torch.Tensor,
        conditioning_scale: float,
        **conditioning: Any,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """As ControlNetModel's: residuals for the UNet's down blocks and its mid block."""
        kinds = sample.new_zeros(len(sample), self.config["num_control_type"])
        kinds[:, OPENPOSE] = 1
        return super().forward(
            sample,
            timestep,
            controlnet_cond=[controlnet_cond],
            control_type=kinds,
            control_type_idx=[OPENPOSE],
            conditioning_scale=float(conditioning_scale),
            **conditioning,
        )  # pyright: ignore[reportReturnType]  # no ControlNetOutput with return_dict=False
