"""Pictures to measure a model set by: held-out views, the model's own, and what it and its autoencoder make of true ones."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetImg2ImgPipeline, StableDiffusionXLControlNetPipeline
from PIL import Image
from torch import nn
from transformers import UperNetForSemanticSegmentation

from ..mannequins.looks import describe_person, describe_scene
from ..mannequins.scenes import Framing, Rendering, draw_view, people_from_left
from ..models.sets import Manifest, ModelSet, own_few_steps
from ..pipeline.schedule import SCHEDULERS, TRAILING
from ..pose import draw_pose
from .segmenter import load_segmenter
from .vae import decode, encode, to_tensor

Pictures = npt.NDArray[np.uint8]  # (N, H, W, 3), RGB

_HELD_OUT_SEED = 900_001  # training uses small seeds


class SampleSettings(msgspec.Struct, frozen=True):
    """How a model set draws. All but `batch` is as in its manifest."""

    steps: int
    guidance_scale: float
    controlnet_conditioning_scale: float
    guide_pose: bool
    pose_line_width_px: int
    batch: int = 8


def own_settings(manifest: Manifest) -> SampleSettings:
    """How the model set of `manifest` draws where nothing else is asked for."""
    return SampleSettings(
        steps=manifest.steps,
        guidance_scale=manifest.guidance_scale,
        controlnet_conditioning_scale=manifest.controlnet_conditioning_scale,
        guide_pose=manifest.guide_pose,
        pose_line_width_px=manifest.pose_line_width_px,
    )


def with_few_steps(
    pipeline: StableDiffusionXLControlNetPipeline, model_set: ModelSet, settings: SampleSettings
) -> SampleSettings:
    """Load the LoRA into `pipeline`; return the settings that go with it. Raises ModelSetError where there is none."""
    path, few_steps = model_set.few_steps_file(), own_few_steps(model_set.manifest)
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name, local_files_only=True)
    scheduler = SCHEDULERS[few_steps.scheduler].from_config(dict(pipeline.scheduler.config) | TRAILING)
    pipeline.scheduler = scheduler  # pyright: ignore[reportAttributeAccessIssue]
    scale = few_steps.controlnet_conditioning_scale
    return msgspec.structs.replace(
        settings,
        steps=few_steps.steps,
        guidance_scale=few_steps.guidance_scale,
        controlnet_conditioning_scale=settings.controlnet_conditioning_scale if scale is None else scale,
        guide_pose=False,
    )


def load_model_set(
    folder: Path, device: torch.device
) -> tuple[StableDiffusionXLControlNetPipeline, UperNetForSemanticSegmentation]:
    """Load the pipeline and segmenter in single precision."""
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(folder, dtype=torch.float32, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device), load_segmenter(folder, device)


def draw_held_out(count: int, framings: Sequence[Framing], first: int = 0) -> list[Rendering]:
    """Return views that training never saw, cycling through `framings`."""
    numbers = range(first, first + count)
    return [draw_view(np.random.default_rng([_HELD_OUT_SEED, n]), 256, framings[n % len(framings)]) for n in numbers]


def write_prompt(view: Rendering) -> str:
    """Return the plainest prompt of a view: its background, then its people from left to right."""
    people = [describe_person(view.looks[i]) for i in people_from_left(view.instance)]
    return ", ".join([describe_scene(view.scene), *people])


def generate(pipeline: StableDiffusionXLControlNetPipeline, views: list[Rendering], settings: SampleSettings) -> Pictures:
    """Return one sample per view, from its prompt and pose picture; sample i has noise seed i."""
    samples = []
    for first in range(0, len(views), settings.batch):
        part = views[first : first + settings.batch]
        with _guiding(pipeline.controlnet, settings):
            output = pipeline(image=_draw_poses(part, settings), **_ask(part, first, settings))
        samples.append(_to_pictures(output[0]))
    return np.concatenate(samples)


def redraw(
    pipeline: StableDiffusionXLControlNetPipeline, views: list[Rendering], settings: SampleSettings, strength: float
) -> Pictures:
    """Return the views drawn anew by the model from `strength` of the noise: its own pictures, of which the truth is known."""
    parts = {name: part for name, part in pipeline.components.items() if part is not None}
    anew = StableDiffusionXLControlNetImg2ImgPipeline(**parts, add_watermarker=False)
    anew.set_progress_bar_config(disable=True)
    drawn = []
    for first in range(0, len(views), settings.batch):
        part = views[first : first + settings.batch]
        true = [Image.fromarray(view.picture) for view in part]
        with _guiding(pipeline.controlnet, settings):
            poses = _draw_poses(part, settings)
            output = anew(image=true, control_image=poses, strength=strength, **_ask(part, first, settings))
        drawn.append(_to_pictures(output[0]))
    return np.concatenate(drawn)


@contextmanager
def posing_prompts_only(controlnet: ControlNetModel) -> Iterator[None]:
    """Within, `controlnet` adds nothing to the first half of a batch, where the pipeline has the negative prompts."""

    def silence(_: nn.Module, __: object, output: tuple[list[torch.Tensor], torch.Tensor]) -> object:
        for residual in (*output[0], output[1]):
            residual[: len(residual) // 2] = 0
        return output

    hook = controlnet.register_forward_hook(silence)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def restore(pipeline: StableDiffusionXLControlNetPipeline, views: list[Rendering]) -> Pictures:
    """Return the views after encoding and decoding: what a perfect denoiser would give."""
    restored = []
    for view in views:
        latents = encode(pipeline.vae, to_tensor(view.picture[None], pipeline.device)).mean
        picture = decode(pipeline.vae, latents).clamp(-1, 1)
        restored.append(((picture[0].permute(1, 2, 0) + 1) * 127.5 + 0.5).byte().cpu().numpy())
    return np.stack(restored)


def _ask(views: list[Rendering], first_seed: int, settings: SampleSettings) -> dict[str, Any]:
    """What a pipeline is asked for, beside pictures."""
    return {
        "prompt": [write_prompt(view) for view in views],
        "height": 256, "width": 256,
        "num_inference_steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "controlnet_conditioning_scale": settings.controlnet_conditioning_scale,
        "generator": [torch.Generator().manual_seed(first_seed + i) for i in range(len(views))],
        "output_type": "np",
    }  # fmt: skip


def _draw_poses(views: list[Rendering], settings: SampleSettings) -> list[Image.Image]:
    width_px = settings.pose_line_width_px
    return [Image.fromarray(draw_pose(list(view.far_to_near[:, :, :3]), 256, 256, width_px)) for view in views]


def _guiding(controlnet: ControlNetModel, settings: SampleSettings) -> AbstractContextManager[None]:
    return posing_prompts_only(controlnet) if settings.guide_pose else nullcontext()


def _to_pictures(drawn: object) -> Pictures:
    return (np.asarray(drawn) * 255 + 0.5).astype(np.uint8)
