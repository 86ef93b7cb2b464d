"""Tell one set of weights from another without reading it all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .kinds import SCHEDULE
from .manifest import Manifest
from .sets import ModelSet

SAMPLE_BYTES = 4096
# what a manifest says that neither the request of a picture, once resolved, nor the fingerprints of files tell
SHAPES_PICTURES = (
    "training_resolution_px", "pose_line_width_px", "pose_hands", "pose_face", "pose_feet", "framing_prompt", "clip_skip",
)  # fmt: skip


def fingerprint_weights(model_set: ModelSet) -> dict[str, str]:
    """Fingerprint by role and file, e.g. "base/unet/diffusion_pytorch_model.safetensors", of all that is loaded."""
    return {name: fingerprint(path) for path, name in weight_files(model_set).items()}


def digest_fingerprints(fingerprints: Mapping[str, str]) -> str:
    """One short digest, hex, of many fingerprints by their names."""
    return hashlib.blake2b(json.dumps(sorted(fingerprints.items())).encode(), digest_size=8).hexdigest()


def fingerprint_schedule(config: Mapping[str, Any]) -> str:
    """Of a schedule of noise, hex. config: the base's SCHEDULE; what diffusers notes there about itself does not count."""
    return fingerprint_values({name: value for name, value in config.items() if not name.startswith("_")})


def fingerprint_manifest(manifest: Manifest) -> str:
    """Of the values by which the same weights make other pictures of the same request, hex."""
    return fingerprint_values({name: getattr(manifest, name) for name in SHAPES_PICTURES})


def fingerprint_values(said: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=32).hexdigest()


def weight_files(model_set: ModelSet) -> dict[Path, str]:
    """The files that are loaded, and their names by role; a file of two roles is named once."""
    found: dict[Path, str] = {}
    for role in model_set.roles:
        for part, weights in model_set.networks(role).items():
            for path in weights.files if weights else ():
                # by where it stands: the hub's cache is full of links
                found.setdefault(path.resolve(), (Path(role) / part / path.name).as_posix())
    return found


def stamp_files(model_set: ModelSet) -> tuple[tuple[Path, int, int], ...]:
    """Path, time of the last change in ns and size in bytes of weights, of the networks' settings and of the base's schedule.

    Others where one was replaced or edited.
    """
    settings = [
        model_set.role_folder(role) / name / "config.json"
        for role in model_set.roles
        if not model_set.role_file(role)
        for name in model_set.networks(role)
    ]
    stamps = ((path, path.stat()) for path in (*weight_files(model_set), *settings, model_set.role_folder("base") / SCHEDULE))
    return tuple((path, status.st_mtime_ns, status.st_size) for path, status in stamps)


def fingerprint(path: Path) -> str:
    """BLAKE2b-256, hex, of a safetensors file's header, its size and the first 4 KiB of each tensor.

    Training, merging and quantising change whole tensors, so what they change shows; damage in the middle of one does not.
    """
    state = hashlib.blake2b(str(path.stat().st_size).encode(), digest_size=32)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
        state.update(header)
        spans = (tensor["data_offsets"] for name, tensor in json.loads(header).items() if name != "__metadata__")
        for start, end in sorted(spans):
            file.seek(8 + length + start)
            state.update(file.read(min(SAMPLE_BYTES, end - start)))
    return state.hexdigest()
