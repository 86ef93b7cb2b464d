"""Build a whole model set of real classes with random weights, as small as they go."""

import json
import string
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionXLControlNetPipeline, UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)

TEXT = 16


def make_tokenizer() -> CLIPTokenizer:
    """Single characters only: 77 tokens are 75 letters, so long prompts are easily made."""
    letters = [*string.ascii_lowercase, *string.digits, ",", ".", "'", "-"]
    tokens = ["!", *letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77, pad_token="!")


def make_text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT,
        intermediate_size=TEXT,
        projection_dim=TEXT,
        num_attention_heads=2,
        num_hidden_layers=2,
        bos_token_id=cast(int, tokenizer.bos_token_id),
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )


def make_unet(in_channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=8,
        cross_attention_dim=2 * TEXT,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + TEXT,
    )


def make_vae() -> AutoencoderKL:
    levels: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 16, 16),
    }
    return AutoencoderKL(
        **levels,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        scaling_factor=0.5,
    )


def save_tiny_model_set(folder: Path, inpainting_channels: int = 4) -> None:
    """A model set in `folder`; with `inpainting_channels` 9 it has an inpainting UNet of its own, as SDXL."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = make_text_config(tokenizer)
    unet = make_unet()
    controlnet = ControlNetModel.from_unet(unet, conditioning_channels=3)
    for parameter in controlnet.parameters():  # its zero convolutions would hide the pose from every test
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    StableDiffusionXLControlNetPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        controlnet=controlnet,
        scheduler=cast(Any, scheduler),
        add_watermarker=False,
    ).save_pretrained(folder)
    roles = {"base": ".", "controlnet": "controlnet", "inpainting": ".", "segmenter": "segmenter"}
    if inpainting_channels != 4:
        make_unet(inpainting_channels).save_pretrained(folder / "inpainting" / "unet")
        roles["inpainting"] = "inpainting"
    SegformerImageProcessorPil().save_pretrained(folder / "segmenter")
    labels = {0: "background", 1: "head", 2: "hair", 3: "upper_body", 4: "lower_body"}
    SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=8,
            id2label=labels, label2id={label: index for index, label in labels.items()},
        )
    ).save_pretrained(folder / "segmenter")  # fmt: skip
    manifest = {
        "format": 1, "name": "tiny", "training_resolution_px": 64, "pose_line_width_px": 2, "framing_prompt": "",
        "steps": 4, "guidance_scale": 2.0, "roles": roles,
    }  # fmt: skip
    (folder / "modelset.json").write_text(json.dumps(manifest))
