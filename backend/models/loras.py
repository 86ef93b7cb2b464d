"""LoRAs by name: which file of which folder. Never imports torch."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from platformdirs import user_data_path

from ...protocol import LORA_NAME, Lora, RenderRequest
from .fingerprint import fingerprint
from .sets import ModelSetError

Worn = tuple[tuple[str, float], ...]  # names and scales, in the order of the names


def lora_folders(model_set_folder: Path) -> tuple[Path, ...]:
    """Where LoRAs are looked for: beside the model set, then in the user's own folder."""
    return model_set_folder / "loras", user_data_path("beyondscene") / "loras"


def known_loras(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names that a request may give: of all files in `folders` that can be named."""
    names = {path.stem for folder in folders for path in folder.glob("*.safetensors")}
    return tuple(sorted(name for name in names if re.fullmatch(LORA_NAME, name) and len(name) <= 128))


def find_loras(request: RenderRequest, folders: Sequence[Path]) -> dict[str, Path]:
    """The file of each LoRA of `request` by its name. Raises ModelSetError for one that is in none of `folders`."""
    asked = (*request.loras, *(lora for character in request.characters for lora in character.loras))
    return {lora.name: find_lora(lora.name, folders) for lora in asked}


def find_lora(name: str, folders: Sequence[Path]) -> Path:
    """`name` is a label: the protocol lets no separator through."""
    for folder in folders:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return path
    known = ", ".join(known_loras(folders))
    raise ModelSetError(
        f"There is no LoRA '{name}': {f'known are {known}' if known else 'none is known'}; "
        f"put {name}.safetensors into {' or '.join(str(folder) for folder in folders)}."
    )


def fingerprint_loras(request: RenderRequest, folders: Sequence[Path]) -> dict[str, str]:
    """Fingerprint by "loras/NAME.safetensors"."""
    return {f"loras/{path.name}": fingerprint(path) for path in find_loras(request, folders).values()}


def worn(scene: Iterable[Lora], own: Iterable[Lora] = ()) -> Worn:
    """The scene's LoRAs and a character's own; where both name one, the character's scale counts. A scale of 0 is none."""
    scales = {lora.name: lora.scale for lora in (*scene, *own)}
    return tuple(sorted((name, scale) for name, scale in scales.items() if scale))
