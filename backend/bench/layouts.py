"""How large the networks of a set with random weights are: SDXL's own sizes, and the smallest that still have all its parts."""

from dataclasses import dataclass
from typing import Any

from ..models.sets import Manifest

LAYERS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
VAE_LAYERS = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}


@dataclass(frozen=True)
class Layout:
    """Configurations of one set: the arguments of the classes of diffusers and transformers that make its networks.

    unet: also the ControlNet's, which copies its encoder, and, with five input channels more, the inpainting UNet's.
    embedding: channels of the layers with which the ControlNet reads a pose picture.
    texts: of the two text encoders, apart from what the tokenizer decides.
    """

    manifest: Manifest
    unet: dict[str, Any]
    embedding: tuple[int, ...]
    vae: dict[str, Any]
    texts: tuple[dict[str, Any], dict[str, Any]]


SDXL = Layout(
    manifest=Manifest(name="sdxl-random", training_resolution_px=1024, pose_line_width_px=24, roles={}),
    unet=LAYERS
    | {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    embedding=(16, 32, 96, 256),
    vae=VAE_LAYERS
    | {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 1024, "scaling_factor": 0.13025},
    texts=(
        {
            "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu",
        },
        {
            "vocab_size": 49408, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
            "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu",
        },
    ),
)  # fmt: skip

TOY = Layout(
    manifest=Manifest(
        name="toy-random", training_resolution_px=64, pose_line_width_px=2, steps=4, guidance_scale=2.0, roles={}
    ),
    unet=LAYERS
    | {
        "sample_size": 8,
        "block_out_channels": (8, 16, 16),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1, 1),
        "attention_head_dim": (1, 2, 2),
        "norm_num_groups": 4,
        "cross_attention_dim": 32,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
    },
    embedding=(4, 8, 8, 8),
    vae=VAE_LAYERS | {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 64},
    texts=(
        {
            "vocab_size": 2048, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "projection_dim": 16,
        },
        {
            "vocab_size": 2048, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "projection_dim": 16,
        },
    ),
)  # fmt: skip

LAYOUTS = {layout.manifest.name: layout for layout in (SDXL, TOY)}
