"""What a picture takes beside its model set: LoRAs, and embeddings that its prompts name. Never imports torch."""

from collections.abc import Collection, Mapping
from pathlib import Path

from ...protocol import RenderRequest
from .fingerprint import digest_fingerprints, fingerprint, fingerprint_weights
from .loras import FEW_STEPS, check_format, find_loras, lora_folders, loras_of
from .sets import ModelSet, ModelSetError
from .textual_inversions import KEY, embeddings_of, gather_embeddings
from .weights import check_file


def gather_extras(request: RenderRequest, models: ModelSet) -> dict[str, Path]:
    """The file of each LoRA and embedding of `request` by its name; the model set's own LoRA is one where it is for few steps.

    Raises ModelSetError for one that is not there, not whole, or of a kind that is not read.
    """
    found = find_loras(request, lora_folders(models.folder))
    if request.settings.few_steps:
        found[FEW_STEPS.name] = models.few_steps_file()
    for name, path in found.items():
        check_file(path)
        check_format(name, path, models)
    return found | gather_embeddings(request, models)


def check_loaded(request: RenderRequest, names: Collection[str]) -> None:
    """Raise ModelSetError for what `request` takes and is not among the `names` of what the networks carry."""
    few_steps = (FEW_STEPS,) if request.settings.few_steps else ()
    loras = [(lora.name, f"LoRA '{lora.name}'") for lora in (*few_steps, *loras_of(request))]
    embeddings = [(KEY + name, f"embedding '{name}'") for name in embeddings_of(request)]
    lacking = next((what for name, what in (*loras, *embeddings) if name not in names), None)
    if lacking is not None:
        raise ModelSetError(
            f"The {lacking} is not loaded, and the picture would be drawn without it: load those of gather_extras by "
            "adapters.loaded of the models, or draw with backend.render.Renderer, which does."
        )


def fingerprint_extras(files: Mapping[str, Path]) -> dict[str, str]:
    """Fingerprint by "loras/NAME.safetensors" or "embeddings/...", "few_steps/..." of the model set's own. files: by name."""
    kinds = {FEW_STEPS.name: "few_steps"} | {name: "embeddings" for name in files if name.startswith(KEY)}
    return {f"{kinds.get(name, 'loras')}/{path.name}": fingerprint(path) for name, path in files.items()}


def digest_weights(model_set: ModelSet, extras: Mapping[str, Path]) -> str:
    """One short digest of all that a picture is made with: whatever else it is called, other weights have another one."""
    return digest_fingerprints(fingerprint_weights(model_set) | fingerprint_extras(extras))
