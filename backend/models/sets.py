"""Model sets: which folders hold the networks of each role. Reads small JSON files only; never imports torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta, Struct

from ...protocol import Refusal
from .few_steps import FewSteps
from .hub import Download, download_command, is_hub_id, locate
from .weights import Weights, find_weights

Role = Literal["base", "controlnet", "inpainting", "segmenter", "sam", "vae"]
# `sam` beside a segmenter that only finds boxes, `vae` in place of the base's own
ROLES: tuple[Role, ...] = ("base", "controlnet", "inpainting", "segmenter")

# Below the folder of a role: which files must stand there, and which folders must hold a config.json and weights.
FILES: dict[Role, tuple[str, ...]] = {"base": ("model_index.json", "tokenizer", "scheduler/scheduler_config.json")}
NETWORKS: dict[Role, tuple[str, ...]] = {
    "base": ("unet", "text_encoder"),
    "controlnet": (".",),
    "inpainting": ("unet",),
    "segmenter": (".",),
    "sam": (".",),
    "vae": (".",),
}
MANIFEST = "modelset.json"
PRESETS = Path(__file__).parent


class ModelSetError(Refusal):
    """A model set cannot be used. The message names the set, what it lacks and the next step."""


class Manifest(Struct, frozen=True, kw_only=True):
    """The file `modelset.json`.

    roles: folder of each role, relative to the manifest, or a hub id such as "stabilityai/...".
    pose_line_width_px: width of the skeleton's limbs in a view of the training resolution.
    pose_hands, pose_face, pose_feet: whether the skeletons that it was trained on had hands with fingers, white dots for a
        face, and toes and heels; those of a request are drawn only then.
    framing_prompt: words added to a person's prompt when that person is drawn alone.
    steps, guidance_scale, controlnet_conditioning_scale, guide_pose, t_b: used where a request leaves them open; the defaults
        are the paper's, for SDXL.
    downloads: which files of a hub id are needed, to tell whoever has yet to fetch them.
    few_steps: a LoRA for pictures in a few steps, where there is one for these models; they are complete without its file.
    """

    format: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    training_resolution_px: Annotated[int, Meta(ge=64, le=4096, multiple_of=8)]
    pose_line_width_px: Annotated[int, Meta(ge=1, le=256)]
    pose_hands: bool = False
    pose_face: bool = False
    pose_feet: bool = False
    framing_prompt: str = ""
    steps: Annotated[int, Meta(ge=1, le=999)] = 50
    guidance_scale: Annotated[float, Meta(ge=0, le=100)] = 5.0
    controlnet_conditioning_scale: Annotated[float, Meta(ge=0, le=100)] = 1.0
    guide_pose: bool = False
    t_b: Annotated[float, Meta(gt=0, le=1)] = 0.7
    roles: dict[Role, str]
    downloads: dict[Role, Download] = {}
    few_steps: FewSteps | None = None


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
        path = self.vae_folder / "config.json"
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
    def vae_folder(self) -> Path:
        """Of the role `vae`, where the manifest names one; else the base has it."""
        return self.role_folder("vae") if "vae" in self.manifest.roles else self.role_folder("base") / "vae"

    def networks(self, role: Role) -> dict[str, Weights | None]:
        """The weights that `role` loads, by the folder below the role's own ("." for that one); None where they are not."""
        folder, names = self.role_folder(role), list(NETWORKS[role])
        if role == "base":
            names += [] if "vae" in self.manifest.roles else ["vae"]
            names += ["text_encoder_2"] if has_second_text(folder) else []
        return {name: find_weights(folder / name) for name in names}

    def missing(self, role: Role) -> tuple[str, ...]:
        """What `role` lacks, as paths below its folder; empty if it is complete."""
        folder, networks = self.role_folder(role), self.networks(role)
        files = [*FILES.get(role, ()), *(["tokenizer_2"] if "text_encoder_2" in networks else [])]
        files += [(Path(name) / "config.json").as_posix() for name in networks]
        weights = [(Path(name) / "*.safetensors").as_posix() for name, found in networks.items() if found is None]
        return (*(file for file in files if not (folder / file).exists()), *weights)

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
        """Raise ModelSetError if a role is incomplete: all that is to be fetched from the hub, or the first local gap."""
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
        self.check_kinds()

    def check_kinds(self) -> None:
        """Raise ModelSetError for networks that are complete but of another kind, or made for another base."""
        index = read_json(self.role_folder("base") / "model_index.json")
        if "unet" not in index or "text_encoder" not in index:
            self.refuse("base", f"is a {index.get('_class_name')}", "Stable Diffusion 1, 2 or XL with a UNet")
        controlnet = read_json(self.role_folder("controlnet") / "config.json")
        if controlnet.get("_class_name") != "ControlNetModel" or "num_control_type" in controlnet:
            self.refuse("controlnet", f"is a {controlnet.get('_class_name')}", "a ControlNetModel for OpenPose skeletons alone")
        unet = read_json(self.role_folder("base") / "unet" / "config.json")
        inpainting = read_json(self.role_folder("inpainting") / "unet" / "config.json")
        wanted = unet.get("cross_attention_dim")
        for role, network in (("controlnet", controlnet), ("inpainting", inpainting)):
            if network.get("cross_attention_dim") != wanted:
                reads = network.get("cross_attention_dim")
                self.refuse(
                    role, f"reads prompts of {reads} channels", f"one for the same family as the base, which has {wanted}"
                )
        if inpainting.get("in_channels") not in (4, 9):
            self.refuse("inpainting", f"has {inpainting.get('in_channels')} input channels", "one with 4 or 9")
        vae = read_json(self.vae_folder / "config.json")
        if vae.get("_class_name") != "AutoencoderKL" or vae.get("latent_channels", 4) != unet.get("in_channels", 4):
            what = f"is a {vae.get('_class_name')} of {vae.get('latent_channels')} channels"
            self.refuse("vae", what, f"an AutoencoderKL of the {unet.get('in_channels', 4)} channels that the base draws in")
        own = read_json(self.role_folder("base") / "vae" / "config.json")
        for name, unsaid in (("scaling_factor", 0.18215), ("shift_factor", None)) if own else ():
            has, wanted = vae.get(name, unsaid), own.get(name, unsaid)
            if has != wanted:
                self.refuse("vae", f"has the {name} {has}", f"one for the same family as the base, whose own has {wanted},")
        segmenter = read_json(self.role_folder("segmenter") / "config.json")
        if segmenter.get("model_type") == "grounding-dino" and self.missing("sam"):
            self.refuse("segmenter", "finds boxes alone", 'a SAM that draws outlines in them, as "sam",')

    def refuse(self, role: str, what: str, instead: str) -> NoReturn:
        place = self.manifest.roles.get(role, role)  # type: ignore[call-overload]
        raise ModelSetError(
            f"The {role} model of the model set '{self.name}', '{place}', {what}: "
            f'name {instead} under "roles" in {self.folder / MANIFEST}.'
        )

    def is_remote(self, role: Role) -> bool:
        place = self.manifest.roles.get(role, role)
        return is_hub_id(place) and not (self.folder / place).exists()

    def say_how_to_fetch(self, roles: Sequence[Role]) -> str:
        """One sentence, and one command per role; how large each is, where the manifest says so."""
        known = self.manifest.downloads
        lines = []
        for role in roles:
            size = f", {known[role].size_gb:.1f} GB" if role in known else ""
            lines.append(f"  {download_command(self.manifest.roles[role], known.get(role))}  # {role}{size}")
        total_gb = sum(known[role].size_gb for role in roles if role in known)
        total = f" ({total_gb:.1f} GB)" if total_gb else ""
        return (
            f"The model set '{self.name}' lacks its {', '.join(roles)} model{'s' if len(roles) > 1 else ''}{total}. "
            f"Where there is a network, run\n" + "\n".join(lines) + "\n"
            f'or name local folders for them under "roles" in a {MANIFEST} of your own, and pass its folder as --models: '
            "docs/models.md shows one."
        )


def own_few_steps(manifest: Manifest) -> FewSteps:
    """Raises ModelSetError where `manifest` names no LoRA for few steps."""
    if manifest.few_steps is None:
        raise ModelSetError(
            f"The model set '{manifest.name}' names no LoRA for few steps: switch few_steps off, or name one under "
            f'"few_steps" in its {MANIFEST}: docs/models.md shows it.'
        )
    return manifest.few_steps


def has_second_text(base: Path) -> bool:
    """Whether the pipeline in `base` has a second text encoder: SDXL's has one, that of Stable Diffusion 1 and 2 has not."""
    return "text_encoder_2" in read_json(base / "model_index.json")


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file `path`; empty where there is none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def read_model_set(folder: Path) -> ModelSet:
    """The model set in `folder`. Raises ModelSetError where there is none."""
    path = folder / MANIFEST
    try:
        return ModelSet(folder=folder, manifest=msgspec.json.decode(path.read_bytes(), type=Manifest))
    except OSError as error:
        raise ModelSetError(f"{folder} is no model set: it has no readable {MANIFEST}. docs/models.md shows one.") from error
    except ValueError as error:  # what is no JSON, or no UTF-8
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
