"""Load networks from one file, as those of Stable Diffusion are shared, through diffusers' converters."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from .headers import FILE_TEXTS, describe, read_shapes
from .manifest import ModelSetError
from .union import PoseUnion, read_union

Network = TypeVar("Network", bound=nn.Module)


def load_from_file(kind: type[Network], checkpoint: Path, folder: Path, dtype: torch.dtype) -> Network:
    """The network of `kind` in `checkpoint`, in eval mode in host memory, with the settings in `folder`.

    Raises ModelSetError where the file lacks some of its tensors.
    """
    options: dict[str, Any] = {"config": str(folder), "subfolder": "", "local_files_only": True}
    if issubclass(kind, PreTrainedModel):
        with safe_open(checkpoint, framework="pt") as file:
            texts = {key: file.get_tensor(key) for key in file.keys() if key.startswith(FILE_TEXTS)}  # noqa: SIM118
        network: Any = create_diffusers_clip_model_from_ldm(kind, texts, torch_dtype=dtype, **options)
    elif issubclass(kind, PoseUnion):
        network = read_union(checkpoint, folder, dtype)
    else:
        if issubclass(kind, UNet2DConditionModel):
            options |= describe(read_shapes(checkpoint), "inpainting") or {}  # one that inpaints sees more than the base
        try:
            network = kind.from_single_file(str(checkpoint), dtype=dtype, **options)  # type: ignore[attr-defined]
        except NotImplementedError as error:  # of torch, where nothing was read for some
            raise incomplete(checkpoint, folder, "tensors") from error
    lacking = [parameter for parameter, values in network.named_parameters() if values.is_meta]
    if lacking:
        raise incomplete(checkpoint, folder, f"{len(lacking)} of the tensors", f", such as {lacking[0]}")
    return network.eval()


def incomplete(checkpoint: Path, folder: Path, what: str, such: str = "") -> ModelSetError:
    return ModelSetError(
        f"The file {checkpoint} lacks {what} that the config.json in {folder} asks for{such}: it is not whole, or another "
        "network's. Copy it anew, or name another one."
    )
