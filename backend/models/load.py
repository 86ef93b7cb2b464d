"""Load the networks of a model set, all through diffusers and transformers, safetensors only."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionXLControlNetPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from .fingerprint import fingerprint_weights
from .segmenters import Segmenter, load_segmenter
from .sets import Manifest, ModelSet
from .thrift import AMPLE, Thrift


@dataclass(frozen=True, kw_only=True)
class Models:
    """The networks of one model set, in eval mode on `device`.

    inpainting: a UNet with 9 input channels (latents, mask, masked image), as SDXL-inpainting; or with 4, which
        inpaints by keeping the known latents at every step. It may be the base UNet itself.
    weights: fingerprint of each file that was read.
    zeros_for_empty_prompt: an empty negative prompt is all zeros, as SDXL was trained, rather than an encoded "".
    """

    manifest: Manifest
    weights: dict[str, str]
    unet: UNet2DConditionModel
    controlnet: ControlNetModel
    inpainting: UNet2DConditionModel
    vae: AutoencoderKL
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
    text_encoders: tuple[CLIPTextModel, CLIPTextModelWithProjection]
    scheduler_config: dict[str, Any]
    zeros_for_empty_prompt: bool
    segmenter: Segmenter
    device: torch.device
    thrift: Thrift = AMPLE

    @property
    def view_batch(self) -> int:
        """Views that go through the networks at once."""
        return self.thrift.view_batch or choose_view_batch(self.device)

    @property
    def training_resolution_px(self) -> int:
        return self.manifest.training_resolution_px

    @property
    def latent_downsampling(self) -> int:
        """Pixels per latent along a side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype


def load_models(model_set: ModelSet, device: torch.device, dtype: torch.dtype) -> Models:
    """Raises ModelSetError if a role is incomplete, before anything is read."""
    model_set.check()
    silence_libraries()
    common: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    controlnet = ControlNetModel.from_pretrained(model_set.role_folder("controlnet"), **common)
    base = StableDiffusionXLControlNetPipeline.from_pretrained(
        model_set.role_folder("base"), controlnet=controlnet, add_watermarker=False, **common
    )
    same = model_set.role_folder("inpainting").resolve() == model_set.role_folder("base").resolve()
    inpainting = (
        base.unet
        if same
        else UNet2DConditionModel.from_pretrained(model_set.role_folder("inpainting"), subfolder="unet", **common)
    )
    for network in (base.unet, controlnet, inpainting, base.text_encoder, base.text_encoder_2):
        network.to(device).eval()  # type: ignore[arg-type]
    base.vae.float().to(device).eval()  # type: ignore[arg-type]  # SDXL's own VAE overflows in half precision
    return Models(
        manifest=model_set.manifest,
        weights=fingerprint_weights(model_set),
        unet=base.unet,
        controlnet=controlnet,
        inpainting=inpainting,
        vae=base.vae,
        tokenizers=(base.tokenizer, base.tokenizer_2),
        text_encoders=(base.text_encoder, base.text_encoder_2),
        scheduler_config=dict(base.scheduler.config),
        zeros_for_empty_prompt=bool(base.config["force_zeros_for_empty_prompt"]),
        segmenter=load_segmenter(model_set, device),
        device=device,
    )


def choose_view_batch(device: torch.device) -> int:
    """Views at once, by the whole memory of a GPU, not by what is free of it, so that the same device makes the same picture.

    Reckoned for SDXL: 12 GiB for weights and VAE, 0.75 GiB for a view with guidance.
    """
    if device.type != "cuda":
        return 4
    total_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    return max(1, min(16, int((0.9 * total_gib - 12) / 0.75)))


def silence_libraries() -> None:
    """Keep loading bars and advice to developers out of our own output; errors still come through."""
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def choose_device(name: str = "auto") -> tuple[torch.device, torch.dtype]:
    """The device called `name`, or the best there is, and the precision that suits it.

    Raises ValueError for a device that this machine or this build of torch lacks.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"The device '{name}' is not to be had: torch {torch.__version__} sees no CUDA device. Use --device cpu."
        )
    device = torch.device(name)
    return device, torch.float32 if device.type == "cpu" else torch.bfloat16 if device.type == "cuda" else torch.float16
