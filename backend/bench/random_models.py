"""A whole model set with random weights: what a picture costs does not depend on them, and nothing is downloaded."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..models.adapters import Adapters
from ..models.host_memory import reuse_freed_memory
from ..models.load import Models, silence_libraries
from ..models.offload import DevicePlacement
from ..models.segmenters import Box
from ..models.sets import PRESETS, ModelSet
from .layouts import Layout

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # SDXL's


class Silhouette:
    """Stands in for a segmenter, which with random weights would find nobody: an upright oval, about as wide as a person."""

    networks: tuple[nn.Module, ...] = ()

    def segment(self, image: np.ndarray, wanted: Collection[str], body: Box) -> dict[str, np.ndarray]:
        """As Segmenter.segment."""
        height, width = image.shape[:2]
        y, x = np.mgrid[:height, :width]
        oval = ((x / width - 0.5) / 0.18) ** 2 + ((y / height - 0.5) / 0.42) ** 2 < 1
        return {"person": oval}


def make_random_models(layout: Layout, device: torch.device, dtype: torch.dtype) -> Models:
    """The networks of `layout` on `device`, made there; the VAE in float32, as everywhere. The embedded set's tokenizer."""
    silence_libraries()
    reuse_freed_memory(device)
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PRESETS / "embedded" / "tokenizer", local_files_only=True)
    with made_on(device, dtype):
        unet, controlnet, inpainting, texts = make_networks(layout, tokenizer)
    with made_on(device, torch.float32):
        vae = cast(AutoencoderKL, AutoencoderKL.from_config(layout.vae))
    networks = (unet, controlnet, inpainting, vae, *texts)
    for network in networks:
        network.eval()
    placement = DevicePlacement(device, networks, (unet, controlnet, inpainting), "none")
    return Models(
        model_set=ModelSet(folder=Path(layout.manifest.name), manifest=layout.manifest),
        fingerprints={},
        unet=unet,
        controlnet=controlnet,
        inpainting=inpainting,
        vae=vae,
        tokenizers=(tokenizer, tokenizer),
        text_encoders=texts,
        scheduler_config=dict(DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1).config),
        zeros_for_empty_prompt=True,
        segmenter=Silhouette(),
        device=device,
        placement=placement,
        adapters=Adapters((unet, inpainting), texts, placement),
    )


def make_networks(
    layout: Layout, tokenizer: CLIPTokenizer
) -> tuple[UNet2DConditionModel, ControlNetModel, UNet2DConditionModel, tuple[CLIPTextModel, CLIPTextModelWithProjection]]:
    """UNet, ControlNet, inpainting UNet and text encoders, on torch's default device and in its default dtype."""
    unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config({"in_channels": 4, **layout.unet}))
    controlnet = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=layout.embedding, load_weights_from_unet=False
    )
    for layer in (
        *controlnet.controlnet_down_blocks,
        controlnet.controlnet_mid_block,
        controlnet.controlnet_cond_embedding.conv_out,
    ):
        nn.init.normal_(layer.weight, std=0.01)  # pyright: ignore[reportArgumentType]  # zero, they would hide the pose
    inpainting = cast(UNet2DConditionModel, UNet2DConditionModel.from_config({"in_channels": 9, **layout.unet}))
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    first, second = (CLIPTextConfig(**text, **ids) for text in layout.texts)
    return unet, controlnet, inpainting, (CLIPTextModel(first), CLIPTextModelWithProjection(second))


@contextmanager
def made_on(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Within, new networks are made on `device` in `dtype`: no copy in host memory, and none in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
