"""Embeddings (textual inversions) by name, as prompts name them: which file of which folder. Never imports torch.

The format of prompts is ComfyUI's, `embedding:NAME`. Files are read as AUTOMATIC1111's web UI, kohya's scripts and diffusers
write them, where they are safetensors.
"""

import re
from pathlib import Path

from ...protocol import RenderRequest
from ...protocol.check import texts_of
from ...protocol.emphasis import read_emphasis
from .headers import Shapes, read_shapes
from .loras import find_file, lora_folders, names_in, say_unknown
from .manifest import read_json
from .sets import ModelSet, ModelSetError
from .weights import check_file

# A suffix, as ComfyUI's own examples write one, is none of the name; nor are full stops behind it
EMBEDDING = re.compile(r"\bembedding:([\w.-]*?[\w-])(?:\.(?:safetensors|pt|bin))?(?!\.*[\w-])")
KEY = "embedding:"  # before its name among the files of a picture; no LoRA can be called so
MOST_VECTORS = 75  # what a chunk of a prompt has room for
# The vectors of each text encoder, of two: as most programs call them, and as diffusers' script for SDXL does
OF_ENCODERS = (("clip_l", "text_encoders_0"), ("clip_g", "text_encoders_1"))


def embeddings_of(request: RenderRequest) -> tuple[str, ...]:
    """The names that its prompts have, each once."""
    texts = (words for _, text in texts_of(request) for words, _ in read_emphasis(text))
    return tuple(dict.fromkeys(name for text in texts for name in EMBEDDING.findall(text)))


def gather_embeddings(request: RenderRequest, models: ModelSet) -> dict[str, Path]:
    """The file of each embedding of `request`, by KEY and its name.

    Raises ModelSetError for one that is not there, not whole, or for other text encoders than those of `models`.
    """
    folders = [folder.with_name("embeddings") for folder in lora_folders(models.folder)]
    found = {}
    for name in embeddings_of(request):
        path = find_file(name, folders)
        if path is None:
            known = [other for other in names_in(folders) if EMBEDDING.fullmatch(KEY + other)]
            lacks = say_unknown("embedding", name, known, folders)
            raise ModelSetError(f"{lacks}, or take {KEY}{name} out of the prompt.")
        check_file(path)
        check_vectors(name, path, models)
        found[KEY + name] = path
    return found


def check_vectors(name: str, path: Path, models: ModelSet) -> None:
    """Raise ModelSetError, by the header alone, for what is no embedding for the text encoders of `models`."""
    base, shapes = models.role_folder("base"), read_shapes(path)
    widths = [read_json(base / part / "config.json")["hidden_size"] for part in models.text_encoders]
    found = [(shapes[one][0] if len(shapes[one]) > 1 else 1, shapes[one][-1]) for one in tensors_of(shapes, len(widths))]
    counts = {count for count, _ in found}
    if [width for _, width in found] == widths and len(counts) == 1 and 1 <= min(counts) <= MOST_VECTORS:
        return
    held = ", ".join(f"{tensor} {tuple(shape)}" for tensor, shape in list(shapes.items())[:3])
    raise ModelSetError(
        f"The embedding '{name}' does not fit: {path} holds {held}{' ...' * (len(shapes) > 3)}, but the model set "
        f"'{models.name}' takes 1 to {MOST_VECTORS} vectors of {' and '.join(map(str, widths))} channels: choose one for the "
        "same family."
    )


def tensors_of(shapes: Shapes, encoders: int) -> list[str]:
    """The tensor for each text encoder; a file for one has no other. Empty where the file is none of these."""
    if encoders == 1:
        return list(shapes) if len(shapes) == 1 and 0 < len(*shapes.values()) < 3 else []
    named = [[tensor for tensor in tensors if 0 < len(shapes.get(tensor, ())) < 3] for tensors in OF_ENCODERS]
    return [tensors[0] for tensors in named] if all(named) else []
