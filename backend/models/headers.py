"""What the weights in one file are, by names and shapes in its header, in the words of a config.json. Never imports torch."""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from .manifest import Role

Shapes = dict[str, list[int]]

# How the names of tensors begin in a checkpoint, in the layout of Stable Diffusion's authors
FILE_UNET, FILE_VAE = "model.diffusion_model.", "first_stage_model."
FILE_TEXTS = ("conditioner.embedders.", "cond_stage_model.")
FILE_SECOND_TEXT = "conditioner.embedders.1."
SCALED_FLOAT8 = ("scaled_fp8", ".scale_weight")  # as ComfyUI writes it; without the scales its numbers are others
# The tensor of each network that tells most, as diffusers calls it and as the authors do, alone or within a checkpoint
LATENTS_IN = (f"{FILE_UNET}input_blocks.0.0.weight", "conv_in.weight")
POSE_IN = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight", "control_model.input_hint_block.0.weight")
LATENTS_OUT = ("decoder.conv_in.weight", f"{FILE_VAE}decoder.conv_in.weight", "vae.decoder.conv_in.weight")
OF_CONTROL_LORA = "lora_controlnet"
OF_UNION = "task_embedding"


def read_shapes(path: Path) -> Shapes:
    """The shape of each tensor in a safetensors file that is whole."""
    with safe_open(path, framework="np") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


def describe(shapes: Shapes, role: Role) -> dict[str, Any] | None:
    """Settings that tell the network for `role` in a file from others of its family; None where the file holds none."""
    if role == "vae":
        channels = inputs(shapes, LATENTS_OUT)
        return None if channels is None else {"_class_name": "AutoencoderKL", "latent_channels": channels}
    reads = next((shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight") and len(shape) > 1), None)
    into = inputs(shapes, POSE_IN if role == "controlnet" else LATENTS_IN)
    other = OF_CONTROL_LORA if role == "controlnet" else POSE_IN[0]  # a ControlNet begins as a UNet does
    if into is None or reads is None or other in shapes:
        return None
    if role == "controlnet":
        return {"_class_name": "ControlNetModel", "conditioning_channels": into, "cross_attention_dim": reads}
    predicts = {"prediction_type": "v_prediction"} if "v_pred" in shapes else {}
    return {"in_channels": into, "cross_attention_dim": reads} | predicts


def inputs(shapes: Shapes, names: tuple[str, ...]) -> int | None:
    """Channels that the first of these convolutions takes, where the file has one."""
    return next((shapes[name][1] for name in names if len(shapes.get(name, ())) > 1), None)


def describe_union(shapes: Shapes) -> dict[str, Any]:
    """What a ControlNet-Union has beyond the settings of a ControlNet."""
    convolutions = ("conv_in", "blocks.1", "blocks.3", "blocks.5")
    kinds, width = shapes[OF_UNION]
    return {
        "conditioning_embedding_out_channels": [shapes[f"controlnet_cond_embedding.{one}.weight"][0] for one in convolutions],
        "num_control_type": kinds,
        "num_trans_channel": width,
        "num_proj_channel": shapes["spatial_ch_projs.weight"][0],
    }
