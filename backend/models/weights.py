"""Which files of a folder hold a network's weights: safetensors, named as diffusers and transformers name them."""

import json
from dataclasses import dataclass
from pathlib import Path

STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = (None, "fp16")  # the full file where there is one


@dataclass(frozen=True)
class Weights:
    """variant: as `from_pretrained` takes it. files: one, or the parts of a network that was saved in several."""

    variant: str | None
    files: tuple[Path, ...]


def find_weights(folder: Path) -> Weights | None:
    """What loading from `folder` reads; None where it holds no safetensors, or not all parts of them."""
    for variant in VARIANTS:
        for stem in STEMS:
            name = stem if variant is None else f"{stem}.{variant}"
            whole = folder / f"{name}.safetensors"
            if whole.is_file():
                return Weights(variant, (whole,))
            index = folder / ".".join(part for part in (stem, "safetensors.index", variant, "json") if part)
            if index.is_file():
                parts = sorted(set(json.loads(index.read_text())["weight_map"].values()))
                files = tuple(folder / Path(part).name for part in parts)
                if all(file.is_file() for file in files):
                    return Weights(variant, files)
    return None
