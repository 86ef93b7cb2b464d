"""Which files of a folder hold a network's weights: safetensors, named as diffusers and transformers name them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from safetensors import SafetensorError, safe_open

from .manifest import ModelSetError

OF_DIFFUSERS = "diffusion_pytorch_model"
STEMS = (OF_DIFFUSERS, "model")
VARIANTS = (None, "fp16", "bf16")  # the full file where there is one
PAGING_FILE = "(os error 1455)"  # what Windows says in the country's language where it has no memory for a file that is mapped


class Index(Struct, frozen=True):
    """What is asked of the index of a network in several parts: the file of each tensor."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Weights:
    """variant: as `from_pretrained` takes it. files: one, or the parts of a network that was saved in several."""

    variant: str | None
    files: tuple[Path, ...]


def find_weights(folder: Path) -> Weights | None:
    """What loading from `folder` reads; None where it holds no safetensors, or not all parts of them.

    Raises ModelSetError for an index of parts that cannot be read.
    """
    for variant in VARIANTS:
        for stem in STEMS:
            name = stem if variant is None else f"{stem}.{variant}"
            whole = folder / f"{name}.safetensors"
            index = folder / ".".join(part for part in (stem, "safetensors.index", variant, "json") if part)
            # where both are, diffusers reads the parts and transformers the whole
            in_parts = index.is_file() and (stem == OF_DIFFUSERS or not whole.is_file())
            files = list_parts(index) if in_parts else (whole,)
            if all(file.is_file() for file in files):
                return Weights(variant, files)
    return None


def list_parts(index: Path) -> tuple[Path, ...]:
    return tuple(index.with_name(Path(part).name) for part in sorted(set(read_index(index).weight_map.values())))


def load_whole(read: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """The network that `read`, a from_pretrained of diffusers or transformers, makes of `folder`.

    Raises ModelSetError for weights that are another network's, or lack some of this one's, which else would be random.
    """
    loaded, found = read(folder, output_loading_info=True, **options)
    # old files lack the count of a norm's batches, which only training asks for
    if missing := sorted(name for name in found["missing_keys"] if not name.endswith(".num_batches_tracked")):
        raise ModelSetError(
            f"The weights in {folder} lack {len(missing)} of the tensors that its config.json asks for, such as {missing[0]}: "
            "they are not whole, or another network's. Copy or fetch the folder anew, or name another one."
        )
    return loaded


def check_file(path: Path) -> None:
    """Raise ModelSetError for safetensors that are not whole, by the header alone: broken off, or a pointer of Git LFS."""
    try:
        with safe_open(path, framework="np"):
            pass
    except (OSError, SafetensorError) as error:
        if PAGING_FILE in str(error):
            raise ModelSetError(
                f"There is not enough memory to open the weights in {path} ({error}): close other programs, or let Windows "
                "choose the size of its paging file."
            ) from error
        file = path.resolve()  # what the hub's cache links to stays, and is linked to again, whatever is fetched
        raise ModelSetError(
            f"The weights in {file} cannot be read ({error}): delete that file, and copy or fetch it anew."
        ) from error


def read_index(path: Path) -> Index:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except (OSError, ValueError) as error:
        raise ModelSetError(
            f"The list of a network's parts, {path}, cannot be read ({error}): copy or fetch it anew."
        ) from error
