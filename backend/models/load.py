"""Load the networks of a model set, all through diffusers and transformers, safetensors only."""

import logging
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from .adapters import Adapters
from .device_memory import is_out_of_memory, room_bytes
from .fingerprint import fingerprint_weights
from .hcp import load_hcp
from .host_memory import reuse_freed_memory
from .kinds import is_union
from .memory_saving import FULL_SPEED, MemorySaving, Offload
from .offload import DevicePlacement
from .segmenters import Segmenter, load_segmenter
from .sets import Manifest, ModelSet, ModelSetError, read_json
from .single_file import Network, load_from_file
from .union import AnyControlNet, PoseUnion
from .weights import find_weights, load_whole

# What UNet and ControlNet hold of a row, in fields of their first width and full resolution. SDXL's tensors and the copies that
# cuDNN makes for a convolution come to 23 (230 MiB); an eighth of the views could do without, which is not worth a failure.
UNET_ROW = 30
KEPT_BYTES = 2 * 2**30  # beside the views: keys and values of up to 32 prompts, canvases
# Rows that keep a GPU busy: 16 of SDXL in half precision. Of smaller ones more: each batch launches as many kernels as any.
BUSY_BYTES = 16 * UNET_ROW * 320 * 128**2 * 2
MOST_VIEWS = 128
# Without CUDA more rows at once save calls, but large ones gain nothing: 16 views of the embedded model, 4 of SDXL.
CPU_BYTES = 2**28


@dataclass(frozen=True, kw_only=True)
class Models:
    """The networks of one model set, in eval mode; they work on `device`, where `placement` brings them.

    inpainting: a UNet with 9 input channels (latents, mask, masked image), as SDXL-inpainting; or with 4, which
        inpaints by keeping the known latents at every step. It may be the base UNet itself.
    fingerprints: of each file that was read.
    text_encoders: two as SDXL has, or one as Stable Diffusion 1 and 2.
    adapters: carries the LoRAs of a picture.
    zeros_for_empty_prompt: an empty negative prompt is all zeros, as SDXL was trained, rather than an encoded "".
    check: called before each run of a large network; raises where the picture is no longer wanted.
    """

    model_set: ModelSet
    fingerprints: dict[str, str]
    unet: UNet2DConditionModel
    controlnet: AnyControlNet
    inpainting: UNet2DConditionModel
    vae: AutoencoderKL
    tokenizers: tuple[CLIPTokenizer, ...]
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    scheduler_config: dict[str, Any]
    zeros_for_empty_prompt: bool
    segmenter: Segmenter
    device: torch.device
    placement: DevicePlacement
    adapters: Adapters
    memory_saving: MemorySaving = FULL_SPEED
    check: Callable[[], None] = lambda: None

    @property
    def manifest(self) -> Manifest:
        return self.model_set.manifest

    @property
    def view_batch(self) -> int:
        """Views that go through the networks at once."""
        if self.memory_saving.view_batch:
            return self.memory_saving.view_batch
        row_bytes = UNET_ROW * self.unet.config["block_out_channels"][0] * self.view_latents**2 * self.dtype.itemsize
        resident = self.placement.resident_bytes(self.unet, self.controlnet)
        return max(1, int(choose_view_batch(self.device, resident, row_bytes) * self.memory_saving.share))

    @property
    def training_resolution_px(self) -> int:
        return self.manifest.training_resolution_px

    @property
    def latent_downsampling(self) -> int:
        """Pixels per latent along a side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def view_latents(self) -> int:
        """Side of a view, in latents."""
        return self.training_resolution_px // self.latent_downsampling

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype  # diffusers' own property walks all layers first, which takes milliseconds


def load_models(model_set: ModelSet, device: torch.device, dtype: torch.dtype, offload: Offload = "none") -> Models:
    """Raises ModelSetError if a role is incomplete or of the wrong kind, before anything is read, or if weights do not fit."""
    model_set.check()
    silence_libraries()
    reuse_freed_memory(device)
    base, checkpoint = model_set.role_folder("base"), model_set.checkpoint
    unet = load_network(UNet2DConditionModel, base / "unet", dtype, checkpoint)
    if "hcp" in model_set.manifest.roles:
        load_hcp(unet, model_set.role_folder("hcp"))
    kind = PoseUnion if is_union(model_set) else ControlNetModel
    controlnet = load_network(kind, model_set.settings_folder("controlnet"), dtype, model_set.role_file("controlnet"))
    other, other_file = model_set.settings_folder("inpainting"), model_set.role_file("inpainting")
    same = not other_file and other.resolve() == (base / "unet").resolve()
    inpainting = unet if same else load_network(UNet2DConditionModel, other, dtype, other_file)
    # SDXL's own overflows in half precision, and so may those that say nothing, as diffusers reads it. Whether norms on Apple's
    # GPUs take statistics that are more precise than their input has not been tried.
    vae_folder = model_set.settings_folder("vae")
    exact = device.type == "mps" or read_json(vae_folder / "config.json").get("force_upcast", True)
    vae_file = model_set.role_file("vae") if "vae" in model_set.manifest.roles else checkpoint
    vae = load_network(AutoencoderKL, vae_folder, torch.float32 if exact else dtype, vae_file)
    if device.type == "cpu" and vae.dtype == torch.bfloat16:  # its convolutions would copy every input to this layout
        vae = vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    texts = model_set.text_encoders
    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    text_encoders = tuple(load_network(kinds[name], base / name, dtype, checkpoint) for name in texts)
    tokenizers = tuple(load_tokenizer(base / name.replace("text_encoder", "tokenizer")) for name in texts)
    with as_model_set_error(model_set.role_folder("segmenter")):
        segmenter = load_segmenter(model_set, device)
    networks = (unet, controlnet, inpainting, vae, *text_encoders, *segmenter.networks)
    placement = DevicePlacement(device, networks, (unet, controlnet, inpainting), offload)
    return Models(
        model_set=model_set,
        fingerprints=fingerprint_weights(model_set),
        unet=unet,
        controlnet=controlnet,
        inpainting=inpainting,
        vae=vae,
        tokenizers=tokenizers,
        text_encoders=text_encoders,
        scheduler_config=model_set.schedule,
        # the default of each family's pipeline in diffusers
        zeros_for_empty_prompt=bool(read_json(base / "model_index.json").get("force_zeros_for_empty_prompt", len(texts) > 1)),
        segmenter=segmenter,
        device=device,
        placement=placement,
        adapters=Adapters((unet, inpainting), text_encoders, placement),
    )


def load_network(kind: type[Network], folder: Path, dtype: torch.dtype, checkpoint: Path | None) -> Network:
    """The network in `folder`, in eval mode in host memory, whichever variant of its weights is there.

    checkpoint: the file that has its weights in their place. Raises ModelSetError as load_whole and load_from_file do.
    """
    if checkpoint is not None:
        with as_model_set_error(checkpoint):
            return load_from_file(kind, checkpoint, folder, dtype)
    weights = find_weights(folder)
    assert weights is not None  # the set is complete
    options = {"variant": weights.variant, "dtype": dtype, "use_safetensors": True, "local_files_only": True}
    with as_model_set_error(folder):
        return load_whole(kind.from_pretrained, folder, **options).eval()  # type: ignore[attr-defined]


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Raises ModelSetError for files that are not a tokenizer's."""
    with as_model_set_error(folder):
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@contextmanager
def as_model_set_error(folder: Path) -> Iterator[None]:
    """Within, what the libraries say of the files in `folder`, each as it likes, is a ModelSetError; memory may run out."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, ModelSetError):
            raise
        words = textwrap.shorten(str(error), 300)
        raise ModelSetError(f"{folder} cannot be loaded ({words}): copy or fetch it anew, or name another one.") from error


def choose_view_batch(device: torch.device, networks_bytes: int, row_bytes: int) -> int:
    """Views at once, by the whole memory of a GPU, not by what is free of it, so that the same device makes the same picture.

    Without CUDA 4 to 16, by their size alone.

    networks_bytes: on the device while they go through. row_bytes: that a view takes, or twice with guidance.
    """
    if device.type != "cuda":
        return max(4, min(16, CPU_BYTES // (2 * row_bytes)))
    enough = min(MOST_VIEWS, max(16, BUSY_BYTES // row_bytes))
    return max(1, min(enough, (room_bytes(device, networks_bytes) - KEPT_BYTES) // (2 * row_bytes)))


def silence_libraries() -> None:
    """Keep loading bars and advice to developers out of our own output; errors still come through, but for a LoRA's.

    Of that of another family diffusers tells the size of each layer, and we what is wrong.
    """
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    logging.getLogger("diffusers.loaders.peft").setLevel(logging.CRITICAL)
