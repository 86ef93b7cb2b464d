"""A diffusers pipeline in one file, with the names that the authors of Stable Diffusion gave its tensors."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
RESNET = {
    "norm1.": "in_layers.0.", "conv1.": "in_layers.2.", "time_emb_proj.": "emb_layers.1.", "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.", "conv_shortcut.": "skip_connection.",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1.": "time_embed.0.", "time_embedding.linear_2.": "time_embed.2.", "add_embedding.linear_1.":
    "label_emb.0.0.", "add_embedding.linear_2.": "label_emb.0.2.", "conv_in.": "input_blocks.0.0.", "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.", "mid_block.resnets.0.": "middle_block.0.", "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}  # fmt: skip
VAE = {
    "mid_block.resnets.0.": "mid.block_1.", "mid_block.resnets.1.": "mid.block_2.", "mid_block.attentions.0.": "mid.attn_1.",
    "conv_norm_out.": "norm_out.", "conv_shortcut.": "nin_shortcut.", "samplers.0.": "sample.", ".resnets.": ".block.",
    "group_norm.": "norm.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.", "to_out.0.": "proj_out.",
}  # fmt: skip
HINTS = {
    "controlnet_cond_embedding.conv_in": "input_hint_block.0", "controlnet_cond_embedding.conv_out": "input_hint_block.14",
    "controlnet_mid_block.": "middle_block_out.0.",
}  # fmt: skip
OPEN_CLIP = {
    "text_model.encoder.layers.": "transformer.resblocks.", "layer_norm": "ln_", "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.", "self_attn.": "attn.", "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.": "", "text_model.final_ln_.": "ln_final.", "text_projection.weight": "text_projection",
}  # fmt: skip


def save_single_file(pipeline: StableDiffusionPipeline | StableDiffusionXLPipeline, path: Path) -> None:
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in unet_tensors(pipeline.unet).items()}
    tensors |= {f"first_stage_model.{name}": tensor for name, tensor in vae_tensors(pipeline.vae.state_dict()).items()}
    first = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in pipeline.text_encoder.state_dict().items()}
    second = getattr(pipeline, "text_encoder_2", None)
    begin = "conditioner.embedders.0." if second else "cond_stage_model."
    tensors |= {f"{begin}transformer.{name}": tensor for name, tensor in first.items()}
    if second is not None:
        tensors |= {f"conditioner.embedders.1.model.{n}": t for n, t in open_clip_tensors(second.state_dict()).items()}
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)


def controlnet_tensors(controlnet: ControlNetModel) -> Tensors:
    """As in the files of ControlNet's authors."""

    def rename(name: str) -> str:
        name = re.sub(r"^controlnet_cond_embedding\.blocks\.(\d+)", lambda one: f"input_hint_block.{2 + 2 * int(one[1])}", name)
        name = re.sub(r"^controlnet_down_blocks\.(\d+)", r"zero_convs.\1.0", name)
        return "control_model." + replace_all(name, HINTS)

    return renamed(unet_tensors(controlnet), rename)


def unet_tensors(unet: UNet2DConditionModel | ControlNetModel) -> Tensors:
    """Blocks are numbered through, each of so many layers and what changes the size."""
    length = unet.config["layers_per_block"] + 1
    attentive = ["CrossAttn" in kind for kind in unet.config.get("up_block_types", ())]

    def place(found: re.Match[str]) -> str:
        way, block, kind, layer = found[1], int(found[2]), found[3], int(found[4])
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * length}.0.op."
        if kind == "upsamplers":
            return f"output_blocks.{block * length + length - 1}.{1 + attentive[block]}.conv."
        number = block * length + layer
        where = f"input_blocks.{1 + number}" if way == "down" else f"output_blocks.{number}"
        return f"{where}.{int(kind == 'attentions')}."

    def rename(name: str) -> str:
        name = replace_all(name, RESNET) if ".resnets." in name else name
        name = re.sub(r"^(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(?:conv\.)?", place, name)
        return next((new + name[len(old) :] for old, new in ENDS.items() if name.startswith(old)), name)

    return renamed(unet.state_dict(), rename)


def vae_tensors(tensors: Tensors) -> Tensors:
    """Of the decoder the last block comes first, and what attends are convolutions."""
    last = max(int(found[1]) for name in tensors if (found := re.match(r"decoder\.up_blocks\.(\d+)", name)))

    def rename(name: str) -> str:
        name = re.sub(r"up_blocks\.(\d+)", lambda found: f"up.{last - int(found[1])}", name)
        return replace_all(name.replace("down_blocks.", "down."), VAE)

    found = renamed(tensors, rename)
    convolved = {n: t[:, :, None, None] for n, t in found.items() if ".attn_1." in n and t.ndim == 2}
    return found | convolved


def open_clip_tensors(tensors: Tensors) -> Tensors:
    """Query, key and value in one; the projection the other way round."""
    found = renamed(tensors, lambda name: replace_all(name, OPEN_CLIP))
    whole: Tensors = {}
    for name, tensor in found.items():
        if part := re.match(r"(.*attn\.)[qkv]_proj\.(weight|bias)", name):
            parts = [found[f"{part[1]}{letter}_proj.{part[2]}"] for letter in "qkv"]
            whole[f"{part[1]}in_proj_{part[2]}"] = torch.cat(parts)
        else:
            whole[name] = tensor.T if name == "text_projection" else tensor
    return whole


def renamed(tensors: Tensors, rename: Callable[[str], str]) -> Tensors:
    return {rename(name): tensor for name, tensor in tensors.items()}


def replace_all(name: str, parts: dict[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(old, new)
    return name
