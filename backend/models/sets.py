"""Model sets: which folders hold the networks of each role. Reads small JSON files and headers only; never imports torch."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .hub import Download, download_command, is_hub_id, locate
from .kinds import SCHEDULE, check_kinds, check_pipeline
from .manifest import MANIFEST, ROLES, Manifest, ModelSetError, Role, own_few_steps, read_json
from .weights import Weights, check_file, find_weights

# Below the folder of a role: which files must stand there, one of a group, and which folders hold a config.json and weights.
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
FILES: dict[Role, tuple[tuple[str, ...], ...]] = {
    "base": (("model_index.json",), (SCHEDULE,)),
    "segmenter": (PROCESSOR,),
    "sam": (PROCESSOR,),
}
# without words transformers makes a tokenizer that knows none, and without merges one that spells
TOKENIZER = (("tokenizer_config.json",), ("vocab.json", "tokenizer.json"), ("merges.txt", "tokenizer.json"))
NETWORKS: dict[Role, tuple[str, ...]] = {
    "base": ("unet", "text_encoder"),
    "controlnet": (".",),
    "inpainting": ("unet",),
    "segmenter": (".",),
    "sam": (".",),
    "vae": (".",),
    "hcp": (".",),
    "checkpoint": (),
}
CHECKPOINT = ".safetensors"
IN_ONE_FILE: dict[Role, str] = {"controlnet": "unet", "inpainting": "unet", "vae": "vae"}  # and what of the base is set alike
SETTINGS_ONLY = Download(files=("*.json", "*.txt"), size_gb=0.01)  # of a base whose weights are in a file elsewhere
PRESETS = Path(__file__).parent


class VaeConfig(Struct, frozen=True):
    """What is asked of a VAE's config.json: one entry per resolution, each half of the one before."""

    block_out_channels: tuple[int, ...]


class ModelSet(Struct, frozen=True, kw_only=True):
    """A manifest and where it was found.

    folder: the manifest's, or a checkpoint, where that file is all that was given (`sdxl_with`).
    """

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
        path = self.settings_folder("vae") / "config.json"
        try:
            return 2 ** (len(msgspec.json.decode(path.read_bytes(), type=VaeConfig).block_out_channels) - 1)
        except (OSError, ValueError) as error:
            raise ModelSetError(
                f"The VAE of the model set '{self.name}' cannot be read ({error}): complete its folder."
            ) from error

    def role_folder(self, role: Role) -> Path:
        """The folder of `role`, as `hub.locate` finds it."""
        return locate(self.manifest.roles.get(role, role), self.folder)

    @property
    def checkpoint(self) -> Path | None:
        """The one file with all weights of the base, where the manifest names one; the base then gives the settings."""
        place = self.manifest.roles.get("checkpoint")
        return None if place is None else self.folder / place

    def role_file(self, role: Role) -> Path | None:
        """The one file with the weights of `role`, where the manifest names one in place of a folder."""
        place = self.manifest.roles.get(role, role)
        path = self.folder / place
        named = path.is_file() or (place.endswith(CHECKPOINT) and not path.is_dir())
        return path if role in IN_ONE_FILE and named else None

    def settings_folder(self, role: Role) -> Path:
        """Where the config.json of the network for `role` is; for weights in one file, and the base's own VAE, in the base."""
        of_base = self.role_file(role) or (role == "vae" and role not in self.manifest.roles)
        return self.role_folder("base") / IN_ONE_FILE[role] if of_base else self.role_folder(role) / NETWORKS[role][0]

    @property
    def schedule(self) -> dict[str, Any]:
        """The base's SCHEDULE, empty where it has none. Raises ModelSetError where that cannot be read."""
        return read_json(self.role_folder("base") / SCHEDULE)

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The base's folders of them: two as SDXL has, or one."""
        return tuple(name for name in self.networks("base") if name.startswith("text_encoder"))

    def networks(self, role: Role) -> dict[str, Weights | None]:
        """The weights that `role` loads, by the folder below the role's own ("." for that one); None where they are not."""
        folder, names = self.role_folder(role), list(NETWORKS[role])
        if role == "base":
            names += [] if "vae" in self.manifest.roles else ["vae"]
            names += ["text_encoder_2"] if has_second_text(folder) else []
        if file := self.role_file(role):
            return dict.fromkeys(names, Weights(None, (file,)) if file.is_file() else None)
        if self.checkpoint and folder.resolve() == self.role_folder("base").resolve():  # so may the inpainting model's be
            return dict.fromkeys(names, Weights(None, (self.checkpoint,)) if self.checkpoint.is_file() else None)
        return {name: find_weights(folder / name) for name in names}

    def missing(self, role: Role) -> tuple[str, ...]:
        """What `role` lacks, as paths below its folder; empty if it is complete."""
        folder, networks = self.role_folder(role), self.networks(role)
        groups = [] if self.role_file(role) else wanted_files(role, networks)
        files = [" or ".join(group) for group in groups if not any((folder / file).is_file() for file in group)]
        weights = [(Path(name) / "*.safetensors").as_posix() for name, found in networks.items() if found is None]
        return (*files, *weights)

    @property
    def has_few_steps(self) -> bool:
        """Whether `few_steps` can be asked of it: it names a LoRA for that, whose file is there."""
        few_steps = self.manifest.few_steps
        return few_steps is not None and few_steps.path(self.folder).is_file()

    def few_steps_file(self) -> Path:
        """The file of its LoRA for few steps. Raises ModelSetError where it names none or has it not."""
        few_steps = own_few_steps(self.manifest)
        if not self.has_few_steps:
            raise ModelSetError(
                f"The model set '{self.name}' lacks its LoRA for few steps. {few_steps.say_how_to_get(self.folder)}"
            )
        return few_steps.path(self.folder)

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(dict.fromkeys((*ROLES, *self.manifest.roles)))

    @property
    def missing_roles(self) -> tuple[Role, ...]:
        return tuple(role for role in self.roles if self.missing(role))

    def check(self) -> None:
        """Raise ModelSetError if a role is incomplete: all that is to be fetched from the hub, or the first local gap.

        Also for weights that are not whole, and for networks of another kind.
        """
        check_pipeline(self)
        for role, file in (("checkpoint", self.checkpoint), *((role, self.role_file(role)) for role in IN_ONE_FILE)):
            if file and not is_checkpoint(file):
                leave = ", or leave it out to use the weights of the base" if role in ("checkpoint", "vae") else ""
                raise ModelSetError(
                    f"The model set '{self.name}' names the {role} {file}, where no {CHECKPOINT} file is: correct it "
                    f'under "roles" in {self.folder / MANIFEST}{leave}.'
                )
        missing = self.missing_roles
        for role in missing:
            if not self.is_remote(role):
                raise ModelSetError(
                    f"The model set '{self.name}' lacks its {role} model: {self.role_folder(role)} has no "
                    f'{", ".join(self.missing(role))}. Complete the folder, or name another one under "roles" in '
                    f"{self.folder / MANIFEST}."
                )
        if missing:
            raise ModelSetError(self.say_how_to_fetch(missing))
        for weights in (found for role in self.roles for found in self.networks(role).values() if found):
            for path in weights.files:
                check_file(path)
        check_kinds(self)

    def is_remote(self, role: Role) -> bool:
        place = self.manifest.roles.get(role, role)
        return is_hub_id(place) and not (self.folder / place).exists()

    def say_how_to_fetch(self, roles: Sequence[Role]) -> str:
        """One sentence, and one command per role; how large each is, where the manifest says so."""
        known = self.manifest.downloads | ({"base": SETTINGS_ONLY} if self.checkpoint else {})
        lines = []
        for role in roles:
            size = f", {known[role].size_gb:.2g} GB" if role in known else ""
            lines.append(f"  {download_command(self.manifest.roles[role], known.get(role))}  # {role}{size}")
        total_gb = sum(known[role].size_gb for role in roles if role in known)
        total = f" ({total_gb:.2g} GB)" if all(role in known for role in roles) else ""
        return (
            f"The model set '{self.name}' lacks its {', '.join(roles)} model{'s' if len(roles) > 1 else ''}{total}. "
            f"Where there is a network, run\n" + "\n".join(lines) + "\n"
            f'or name local folders for them under "roles" in a {MANIFEST} of your own, and pass its folder as --models, or to '
            "`serve` as --models-dir: docs/models.md shows one."
        )


def wanted_files(role: Role, networks: Iterable[str]) -> list[tuple[str, ...]]:
    """What must stand below the folder of `role` beside the weights of `networks`: one file of each group."""
    wanted = [*FILES.get(role, ()), *(((Path(name) / "config.json").as_posix(),) for name in networks)]
    for name in networks:
        if name.startswith("text_encoder"):
            tokenizer = name.replace("text_encoder", "tokenizer")
            wanted += [tuple(f"{tokenizer}/{file}" for file in group) for group in TOKENIZER]
    return wanted


def has_second_text(base: Path) -> bool:
    """Whether the pipeline in `base` has a second text encoder: SDXL's has one, that of Stable Diffusion 1 and 2 has not."""
    return "text_encoder_2" in read_json(base / "model_index.json")


def read_model_set(folder: Path) -> ModelSet:
    """The model set in `folder`, or with the checkpoint of this path. Raises ModelSetError where there is none."""
    if is_checkpoint(folder):
        return sdxl_with(folder)
    path = folder / MANIFEST
    try:
        return ModelSet(folder=folder, manifest=msgspec.json.decode(path.read_bytes(), type=Manifest))
    except OSError as error:
        raise ModelSetError(f"{folder} is no model set: it has no readable {MANIFEST}. docs/models.md shows one.") from error
    except ValueError as error:  # what is no JSON, or no UTF-8
        raise ModelSetError(f"{path} is not a model set's manifest: {error}. docs/models.md shows one.") from error


def is_checkpoint(path: Path) -> bool:
    return path.suffix == CHECKPOINT and path.is_file()


def sdxl_with(checkpoint: Path) -> ModelSet:
    """The preset `sdxl` with the weights in this file in place of its base's, named like the file."""
    preset = read_model_set(PRESETS / "sdxl").manifest
    name = re.sub(r"[^\w.-]", "-", checkpoint.stem)[:64]
    roles = preset.roles | {"checkpoint": str(checkpoint.resolve())}
    return ModelSet(folder=checkpoint, manifest=replace(preset, name=name, roles=roles))


def find_model_sets(extra: Sequence[Path] = ()) -> list[ModelSet]:
    """The presets, then the sets in the folders `extra`, each once.

    Raises ModelSetError for a folder without one, and for two sets of one name.
    """
    presets = sorted(path.parent for path in PRESETS.glob(f"*/{MANIFEST}"))
    found: dict[str, ModelSet] = {}
    for folder in {path.resolve(): path for path in (*presets, *extra)}.values():
        model_set = read_model_set(folder)
        other = found.setdefault(model_set.name, model_set)
        if other is not model_set:
            raise ModelSetError(
                f"Two model sets have the name '{model_set.name}', the one in {other.folder} and the one in {folder}: change "
                f'the "name" in the {MANIFEST} of one, or leave that folder out.'
            )
    return list(found.values())


def choose_model_set(name: str) -> ModelSet:
    """The preset called `name`, or the set of the path `name`. Raises ModelSetError if it is absent or incomplete."""
    known = find_model_sets()
    chosen = next((model_set for model_set in known if model_set.name == name), None)
    if chosen is None and (Path(name).is_dir() or is_checkpoint(Path(name))):
        chosen = read_model_set(Path(name))
    if chosen is None:
        raise ModelSetError(
            f"There is no model set '{name}': known are {', '.join(model_set.name for model_set in known)}; "
            f"a folder with a {MANIFEST}, or a {CHECKPOINT} file with a finetune of SDXL, can be named by its path."
        )
    chosen.check()
    return chosen
