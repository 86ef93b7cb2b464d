"""Model sets: which folders hold the networks of each role. Reads small JSON files only; never imports torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Role = Literal["base", "controlnet", "inpainting", "segmenter", "sam"]
ROLES: tuple[Role, ...] = ("base", "controlnet", "inpainting", "segmenter")  # `sam` beside a segmenter that only finds boxes

# What must stand in the folder of a role, each a file or a folder of its own.
REQUIRED: dict[Role, tuple[str, ...]] = {
    "base": ("model_index.json", "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
    "controlnet": ("config.json",),
    "inpainting": ("unet",),
    "segmenter": ("config.json",),
    "sam": ("config.json",),
}
MANIFEST = "modelset.json"
PRESETS = Path(__file__).parent


class ModelSetError(ValueError):
    """A model set cannot be used. The message names the set, what it lacks and the next step."""


class Manifest(Struct, frozen=True, kw_only=True):
    """The file `modelset.json`.

    roles: folder of each role, relative to the manifest, or a hub id such as "stabilityai/...".
    pose_line_width_px: width of the skeleton's limbs in a view of the training resolution.
    pose_hands: whether the skeletons that it was trained on had hands with fingers; a request's hands are drawn only then.
    framing_prompt: words added to a person's prompt when that person is drawn alone.
    steps, guidance_scale, t_b: used where a request leaves them open; the defaults are the paper's, for SDXL.
    """

    format: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    training_resolution_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=8)]
    pose_line_width_px: Annotated[int, Meta(ge=1, le=256)]
    pose_hands: bool = False
    framing_prompt: str = ""
    steps: Annotated[int, Meta(ge=1, le=1000)] = 50
    guidance_scale: Annotated[float, Meta(ge=0, le=100)] = 5.0
    t_b: Annotated[float, Meta(gt=0, le=1)] = 0.7
    roles: dict[Role, str]


class VaeConfig(Struct, frozen=True):
    """What is asked of a VAE's config.json: one entry per resolution, each half of the one before."""

    block_out_channels: tuple[int, ...]


class ModelSet(Struct, frozen=True, kw_only=True):
    """A manifest and where it was found."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def training_resolution_px(self) -> int:
        return self.manifest.training_resolution_px

    @property
    def latent_downsampling(self) -> int:
        """Pixels per latent along a side, as the VAE's config.json tells. Raises ModelSetError where it does not."""
        path = self.role_folder("base") / "vae" / "config.json"
        try:
            return 2 ** (len(msgspec.json.decode(path.read_bytes(), type=VaeConfig).block_out_channels) - 1)
        except (OSError, msgspec.DecodeError) as error:
            raise ModelSetError(
                f"The VAE of the model set '{self.name}' cannot be read ({error}): complete its folder."
            ) from error

    def role_folder(self, role: Role) -> Path:
        """The folder of `role`, also where it does not exist; a hub id resolves to its snapshot in the hub's cache."""
        place = self.manifest.roles.get(role, role)
        local = self.folder / place
        return local if local.exists() or not is_hub_id(place) else hub_snapshot(place) or local

    def missing(self, role: Role) -> tuple[str, ...]:
        """What `role` lacks; empty if it is complete."""
        folder = self.role_folder(role)
        return tuple(part for part in REQUIRED[role] if not (folder / part).exists())

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(dict.fromkeys((*ROLES, *self.manifest.roles)))

    @property
    def missing_roles(self) -> tuple[str, ...]:
        return tuple(role for role in self.roles if self.missing(role))

    def check(self) -> None:
        """Raise ModelSetError for the first role that is incomplete."""
        for role in self.roles:
            lacking = self.missing(role)
            if not lacking:
                continue
            place = self.manifest.roles.get(role, role)
            if is_hub_id(place) and not (self.folder / place).exists():
                raise ModelSetError(
                    f"The model set '{self.name}' lacks its {role} model, which is '{place}' on the hub: "
                    f"run `hf download {place}` where there is a network, or name a local folder in {MANIFEST}."
                )
            raise ModelSetError(
                f"The model set '{self.name}' lacks its {role} model: {self.role_folder(role)} has no {', '.join(lacking)}. "
                f'Complete the folder, or name another one under "roles" in {self.folder / MANIFEST}.'
            )


def read_model_set(folder: Path) -> ModelSet:
    """The model set in `folder`. Raises ModelSetError where there is none."""
    path = folder / MANIFEST
    try:
        return ModelSet(folder=folder, manifest=msgspec.json.decode(path.read_bytes(), type=Manifest))
    except OSError as error:
        raise ModelSetError(f"{folder} is no model set: it has no readable {MANIFEST}. docs/models.md shows one.") from error
    except msgspec.DecodeError as error:
        raise ModelSetError(f"{path} is not a model set's manifest: {error}. docs/models.md shows one.") from error


def find_model_sets(extra: Sequence[Path] = ()) -> list[ModelSet]:
    """The presets, then the sets in the folders `extra`. Raises ModelSetError for a folder without one."""
    presets = sorted(path.parent for path in PRESETS.glob(f"*/{MANIFEST}"))
    return [read_model_set(folder) for folder in (*presets, *extra)]


def choose_model_set(name: str, extra: Sequence[Path] = ()) -> ModelSet:
    """The set called `name`, or the one in the folder `name`. Raises ModelSetError if it is absent or incomplete."""
    known = find_model_sets(extra)
    chosen = next((one for one in known if one.name == name), None)
    if chosen is None and Path(name).is_dir():
        chosen = read_model_set(Path(name))
    if chosen is None:
        raise ModelSetError(
            f"There is no model set '{name}': known are {', '.join(one.name for one in known)}; "
            f"a folder with a {MANIFEST} can be named by its path."
        )
    chosen.check()
    return chosen


def is_hub_id(place: str) -> bool:
    return place.count("/") == 1 and not place.startswith((".", "/", "~"))


def hub_snapshot(hub_id: str) -> Path | None:
    """Where the hub's cache holds `hub_id`, or None. Asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
