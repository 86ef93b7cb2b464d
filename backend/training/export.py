"""Write the trained parts as a model set folder that stock diffusers pipelines load."""

import copy
import json
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec
import torch
from diffusers import AutoencoderKL, StableDiffusionXLControlNetPipeline
from torch import nn
from transformers import CLIPTokenizer, UperNetForSemanticSegmentation

from ..models.few_steps import FewSteps
from ..models.manifest import MANIFEST, Manifest
from .denoiser import Denoiser, build_scheduler
from .rounding import narrow
from .segmenter import PREPROCESSOR

Part = TypeVar("Part", bound=nn.Module)

MODEL_SET = Manifest(
    name="embedded",
    training_resolution_px=256,
    pose_line_width_px=4,
    framing_prompt="plain background",
    guidance_scale=2.5,
    guide_pose=True,
    steps=20,
    # At equal noise a side of 32 latents keeps less of a picture than SDXL's 128: the paper's 0.7 is the signal-to-noise of
    # 0.29 here when it falls with the square of the side (arXiv 2301.11093). Seen: from 0.35 up, arms and heads are lost.
    t_b=0.25,
    hidden_joints="keep",  # every joint was drawn in training, whatever hid it
    roles={"base": ".", "controlnet": "controlnet", "inpainting": ".", "segmenter": "segmenter"},
    closed_vocabulary=True,
    # made by few_steps.py
    few_steps=FewSteps(place="few_steps", file="lora.safetensors", steps=4, controlnet_conditioning_scale=1.5),
)


def build_pipeline(
    vae: AutoencoderKL, denoiser: Denoiser, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
) -> StableDiffusionXLControlNetPipeline:
    """Return the stock pipeline around the trained parts."""
    return StableDiffusionXLControlNetPipeline(
        vae=vae,
        text_encoder=denoiser.text.first,
        text_encoder_2=denoiser.text.second,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=denoiser.unet,
        controlnet=denoiser.controlnet,
        scheduler=build_scheduler(),  # pyright: ignore[reportArgumentType]
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def export_model_set(
    vae: AutoencoderKL, denoiser: Denoiser, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
    segmenter: UperNetForSemanticSegmentation, folder: Path,
) -> None:  # fmt: skip
    """Write the model set to `folder`, UNet and ControlNet in 8-bit floats and the rest in half precision.

    The folder is replaced as a whole, so that no parts of different steps meet in it. Other files in it are kept, as README.md
    and few_steps/. Stopped between two renames, it leaves what was there as .FOLDER.old; the next call puts it back.
    """
    folder = folder.resolve()
    part, old = (folder.with_name(f".{folder.name}.{state}") for state in ("part", "old"))  # FOLDER.old may be somebody's own
    if old.exists() and not folder.exists():
        old.rename(folder)
    for left_over in (part, old):
        shutil.rmtree(left_over, ignore_errors=True)
    halves = _halve(denoiser)
    narrow(halves.unet)
    narrow(halves.controlnet)
    pipeline = build_pipeline(_halve(vae), halves, tokenizers)
    pipeline.save_pretrained(part, safe_serialization=True)
    _halve(segmenter).save_pretrained(part / "segmenter", safe_serialization=True)
    _write_json(part / "segmenter" / "preprocessor_config.json", PREPROCESSOR)
    # Defaults are left out, but whoever reads the file is to know its format.
    _write_json(part / MANIFEST, {"format": MODEL_SET.format} | msgspec.to_builtins(MODEL_SET))
    for weights in part.rglob("*.safetensors"):
        weights.chmod((part / MANIFEST).stat().st_mode)  # safetensors 0.8 lets nobody else read them
    if folder.exists():
        for other in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = part / other.relative_to(folder)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(other, target)
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _halve(module: Part) -> Part:
    """Return a half-precision copy."""
    return copy.deepcopy(module).to("cpu", torch.float16)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
