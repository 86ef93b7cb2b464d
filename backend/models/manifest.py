"""What a model set says of itself in its `modelset.json`. Never imports torch."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...protocol import HiddenJoints, Refusal, Steps
from .few_steps import FewSteps
from .hub import Download

Role = Literal["base", "controlnet", "inpainting", "segmenter", "sam", "vae", "hcp", "checkpoint"]
# `sam` beside a segmenter that only finds boxes, `vae` in place of the base's own, `hcp` where there are HcP layers for it,
# `checkpoint` where all weights of the base are in one file
ROLES: tuple[Role, ...] = ("base", "controlnet", "inpainting", "segmenter")

MANIFEST = "modelset.json"


class ModelSetError(Refusal):
    """A model set cannot be used. The message names the set, what it lacks and the next step."""


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The file `modelset.json`.

    roles: folder of each role, relative to the manifest, or a hub id such as "stabilityai/..."; of `checkpoint` the file, and
        for `controlnet`, `inpainting` and `vae` a file as well.
    pose_line_width_px: width of the skeleton's limbs in a view of the training resolution.
    pose_hands, pose_face, pose_feet: whether the skeletons that it was trained on had hands with fingers, white dots for a
        face, and toes and heels; those of a request are drawn only then.
    framing_prompt: words added to a person's prompt when that person is drawn alone.
    guidance_scale, controlnet_conditioning_scale, guide_pose, hcp_scale, steps, t_b, hidden_joints: used where a request leaves
        them open; the defaults are for SDXL, `t_b` the paper's, and for ControlNets that were trained on what a detector finds.
    downloads: which files of a hub id are needed, to tell whoever has yet to fetch them.
    closed_vocabulary: whether the text encoders know no words but those that are one token; people are told of others.
    clip_skip: last layers of the text encoders that are left out, beyond the one that is never read of SDXL's.
    few_steps: a LoRA for pictures in a few steps, where there is one for these models; they are complete without its file.
    """

    format: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    training_resolution_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=8)]
    pose_line_width_px: Annotated[int, Meta(ge=1, le=256)]
    pose_hands: bool = False
    pose_face: bool = False
    pose_feet: bool = False
    framing_prompt: str = ""
    guidance_scale: Annotated[float, Meta(ge=0, le=100)] = 5.0
    controlnet_conditioning_scale: Annotated[float, Meta(ge=0, le=100)] = 1.0
    guide_pose: bool = False
    hcp_scale: Annotated[float, Meta(ge=0, le=1)] = 0.0
    steps: Steps = 50
    t_b: Annotated[float, Meta(gt=0, le=1)] = 0.7
    hidden_joints: HiddenJoints = "drop"
    roles: dict[Role, str]
    downloads: dict[Role, Download] = {}
    closed_vocabulary: bool = False
    clip_skip: Annotated[int, Meta(ge=0, le=11)] = 0
    few_steps: FewSteps | None = None


def own_few_steps(manifest: Manifest) -> FewSteps:
    """Raises ModelSetError where `manifest` names no LoRA for few steps."""
    if manifest.few_steps is None:
        raise ModelSetError(
            f"The model set '{manifest.name}' names no LoRA for few steps: switch few_steps off, or name one under "
            f'"few_steps" in its {MANIFEST}: docs/models.md shows it.'
        )
    return manifest.few_steps


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file `path`; empty where there is none. Raises ModelSetError for a file that holds something else."""
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    try:
        found = json.loads(content)  # diffusers writes infinities
    except ValueError as error:
        raise ModelSetError(f"{path.resolve()} is no JSON ({error}): delete it, and copy or fetch it anew.") from error
    if not isinstance(found, dict):
        raise ModelSetError(f"{path.resolve()} holds no JSON object: delete it, and copy or fetch it anew.")
    return found
