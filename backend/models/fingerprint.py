"""Tell one set of weights from another without reading it all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from .sets import ModelSet, ModelSetError

SAMPLE_BYTES = 4096


def fingerprint_weights(model_set: ModelSet) -> dict[str, str]:
    """Fingerprint by role and file, e.g. "base/unet/diffusion_pytorch_model.safetensors", of all that is loaded."""
    return {name: fingerprint(path) for path, name in weight_files(model_set).items()}


def digest_fingerprints(fingerprints: Mapping[str, str]) -> str:
    """One short digest, hex, of many fingerprints by their names."""
    return hashlib.blake2b(json.dumps(sorted(fingerprints.items())).encode(), digest_size=8).hexdigest()


def weight_files(model_set: ModelSet) -> dict[Path, str]:
    """The files that are loaded, and their names by role; a file of two roles is named once."""
    found: dict[Path, str] = {}
    for role in model_set.roles:
        for part, weights in model_set.networks(role).items():
            for path in weights.files if weights else ():
                # by where it stands: the hub's cache is full of links
                found.setdefault(path.resolve(), (Path(role) / part / path.name).as_posix())
    return found


def stamp_weights(model_set: ModelSet) -> tuple[tuple[Path, int, int], ...]:
    """Path, time of the last change in ns and size in bytes of each file that is loaded: others where one was replaced."""
    stamps = ((path, path.stat()) for path in weight_files(model_set))
    return tuple((path, status.st_mtime_ns, status.st_size) for path, status in stamps)


class Tensor(Struct, frozen=True):
    """What is asked of a header's entry. data_offsets: None of the one that is no tensor."""

    data_offsets: tuple[int, int] | None = None


def fingerprint(path: Path) -> str:
    """BLAKE2b-256, hex, of a safetensors file's header, its size and the first 4 KiB of each tensor.

    Training, merging and quantising change whole tensors, so what they change shows; damage in the middle of one does not.
    Raises ModelSetError for a file that is not whole.
    """
    size = path.stat().st_size
    state = hashlib.blake2b(str(size).encode(), digest_size=32)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, size))
        spans = read_spans(header)
        if spans is None or 8 + length + max((end for _, end in spans), default=0) != size:
            raise ModelSetError(f"{path} is damaged or was cut off: copy or fetch it anew.")
        state.update(header)
        for start, end in spans:
            file.seek(8 + length + start)
            state.update(file.read(min(SAMPLE_BYTES, end - start)))
    return state.hexdigest()


def read_spans(header: bytes) -> list[tuple[int, int]] | None:
    """Where each tensor lies behind a safetensors file's header, in bytes; None where it is none."""
    try:
        tensors = msgspec.json.decode(header, type=dict[str, Tensor])
    except ValueError:
        return None
    return sorted(tensor.data_offsets for tensor in tensors.values() if tensor.data_offsets)
