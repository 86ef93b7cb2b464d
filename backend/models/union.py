"""ControlNet-Union: one ControlNet of SDXL for poses, depth, lines and more. Ours is asked for poses alone."""

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ControlNetModel, ControlNetUnionModel
from safetensors.torch import load_file

from .headers import describe_union, read_shapes

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


def read_union(path: Path, folder: Path, dtype: torch.dtype) -> PoseUnion:
    """The one in a file, which diffusers reads for plain ControlNets alone. folder: with the config.json of the base's UNet."""
    config: dict[str, Any] = PoseUnion.load_config(folder)  # type: ignore[assignment]  # more where it is asked for more
    with init_empty_weights():
        union: Any = PoseUnion.from_config(config | describe_union(read_shapes(path)))
    union.load_state_dict(load_file(path), strict=False, assign=True)
    return union.to(dtype)
