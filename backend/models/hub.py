"""Models of the Hugging Face hub: where its cache holds them, and how to get them there."""

from pathlib import Path

from msgspec import Struct


class Download(Struct, frozen=True, kw_only=True):
    """What of a repository of the hub is needed.

    files: names or patterns, as `hf download` takes them. size_gb: of all of them together, 10^9 bytes.
    """

    files: tuple[str, ...]
    size_gb: float


def is_hub_id(place: str) -> bool:
    """Whether it can be one: no path of Windows or elsewhere, and no file."""
    is_path = ":" in place or place.startswith((".", "/", "~")) or place.endswith(".safetensors")
    return place.count("/") == 1 and not is_path


def hub_snapshot(hub_id: str) -> Path | None:
    """Where the hub's cache holds `hub_id`, or None. Asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # no pattern: `hf download --include` leaves a list of all files, of which the others would be missed here
        return Path(snapshot_download(hub_id, local_files_only=True, allow_patterns=[]))
    except (LocalEntryNotFoundError, HFValidationError, OSError, RuntimeError):  # the last where HOME is not set
        return None


def locate(place: str, folder: Path) -> Path:
    """The folder `place` below `folder`, also where it does not exist; a hub id resolves to its snapshot in the hub's cache."""
    local = folder / place
    return local if local.exists() or not is_hub_id(place) else hub_snapshot(place) or local


def download_command(hub_id: str, download: Download | None) -> str:
    """The line for a shell that brings the files of `hub_id` into the hub's cache."""
    patterns = "".join(f' --include "{pattern}"' for pattern in (download.files if download else ()))
    return f"hf download {hub_id}{patterns}"
