"""LoRAs by name: which file of which folder. Never imports torch."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...protocol import LORA_NAME, Lora, RenderRequest
from ..home import user_data_path
from .headers import read_shapes
from .manifest import read_json
from .sets import ModelSet, ModelSetError

LoraScales = tuple[tuple[str, float], ...]  # names and scales, in the order of the names
FEW_STEPS = Lora(name="(few steps)")  # a model set's own; no request can give it that name
OF_KOHYA = ("lora_unet_", "lora_te", "lycoris_")  # how the names of tensors begin in files of kohya's format, and how they end
ENDS = (".lora_down.weight", ".lora_up.weight", ".alpha")
# the half of a layer that sees prompts, in the formats of kohya, peft and older diffusers
SEES_PROMPTS = re.compile(r"attn2[._](?:processor\.)?to_[kv](?:[._]lora)?\.(?:lora_)?(?:down|A)\.weight$")


def lora_folders(model_set_folder: Path) -> tuple[Path, ...]:
    """Where LoRAs are looked for: beside the model set, which may be one file, then in the user's own folder."""
    beside = model_set_folder.parent if model_set_folder.is_file() else model_set_folder
    return beside / "loras", user_data_path("beyondscene") / "loras"


def known_loras(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names that a request may give: of all files in `folders` that can be named."""
    return tuple(name for name in names_in(folders) if re.fullmatch(LORA_NAME, name) and len(name) <= 128)


def names_in(folders: Sequence[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in files_in(folder)})


def files_in(folder: Path) -> list[Path]:
    """Those in folders below it as well; none where it may not be read, as in a home that is hidden from a service."""
    try:
        return [path for path in sorted(folder.rglob("*.safetensors")) if os.path.isfile(path)]  # noqa: PTH113  (never raises)
    except OSError:
        return []


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """NAME.safetensors in the first of `folders` that has it, itself or below. Raises ModelSetError where several are below."""
    for folder in folders:
        if os.path.isfile(own := folder / f"{name}.safetensors"):  # noqa: PTH113  (as above); which spares a search
            return own
        found = [path for path in files_in(folder) if path.stem == name]
        if len(found) > 1:
            places = " and ".join(str(path.relative_to(folder)) for path in found)
            raise ModelSetError(f"{folder} has {places}, so '{name}' may be any of these: rename all but one.")
        if found:
            return found[0]
    return None


def check_format(name: str, path: Path, models: ModelSet) -> None:
    """Raise ModelSetError, by the header alone, for what is no LoRA, or is one for prompts of another family than `models`.

    Also for what kohya's and LyCORIS's trainers write beside a LoRA's two halves: of a DoRA diffusers 0.42 would leave out the
    magnitudes; other kinds it refuses, long after.
    """
    shapes = read_shapes(path)
    sees = next((shape[-1] for tensor, shape in shapes.items() if SEES_PROMPTS.search(tensor)), None)
    if any(tensor.endswith(".dora_scale") for tensor in shapes):
        raise ModelSetError(
            f"The LoRA '{name}' is a DoRA of kohya's format ({path} has tensors called dora_scale), which is not read: "
            "convert it to the format of peft, or choose one without."
        )
    if other := next((tensor for tensor in shapes if tensor.startswith(OF_KOHYA) and not tensor.endswith(ENDS)), None):
        raise ModelSetError(
            f"The LoRA '{name}' is another kind of LyCORIS, such as LoHa or LoKr ({path} has tensors called "
            f"{other.partition('.')[2]}), which is not read: choose a LoRA, or a LoCon without Tucker decomposition."
        )
    if not any("lora" in tensor or "lokr" in tensor for tensor in shapes):
        raise ModelSetError(f"No tensor in {path} is a LoRA's, by their names: choose another one than '{name}'.")
    wanted = read_json(models.role_folder("base") / "unet" / "config.json").get("cross_attention_dim")
    if sees is not None and sees != wanted:
        raise ModelSetError(
            f"The LoRA '{name}' was trained for prompts of {sees} channels ({path}), but those of the model set "
            f"'{models.name}' have {wanted}: choose one for the same family."
        )


def find_loras(request: RenderRequest, folders: Sequence[Path]) -> dict[str, Path]:
    """The file of each LoRA of `request` by its name. Raises ModelSetError for one that is in none of `folders`."""
    return {lora.name: find_lora(lora.name, folders) for lora in loras_of(request)}


def loras_of(request: RenderRequest) -> tuple[Lora, ...]:
    """The scene's, then each character's."""
    return (*request.loras, *(lora for character in request.characters for lora in character.loras))


def find_lora(name: str, folders: Sequence[Path]) -> Path:
    """`name` is a label: the protocol lets no separator through."""
    if found := find_file(name, folders):
        return found
    raise ModelSetError(f"{say_unknown('LoRA', name, known_loras(folders), folders)}.")


def say_unknown(kind: str, name: str, known: Sequence[str], folders: Sequence[Path]) -> str:
    """That none of `folders` has this one, and where to put it: a sentence without its end."""
    names = f"known are {', '.join(known)}" if known else "none is known"
    return f"There is no {kind} '{name}': {names}; put {name}.safetensors into {' or '.join(map(str, folders))}"


def merge_loras(scene: Iterable[Lora], own: Iterable[Lora] = ()) -> LoraScales:
    """The scene's LoRAs and a character's own; where both name one, the character's scale counts. A scale of 0 is none."""
    scales = {lora.name: lora.scale for lora in (*scene, *own)}
    return tuple(sorted((name, scale) for name, scale in scales.items() if scale))
