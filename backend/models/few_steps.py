"""A LoRA that makes a model set draw in a few steps, without guidance: where it lies and what it wants. Never imports torch."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ...protocol import Solver, Steps
from .hub import Download, download_command, is_hub_id, locate


class FewSteps(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The entry `few_steps` of a `modelset.json`. Its timesteps have trailing spacing, whatever the base model's.

    place: a folder, relative to the manifest, or a hub id. file: of the LoRA in there. size_gb: of it, to tell who has yet to
        fetch it.
    steps, guidance_scale, controlnet_conditioning_scale, t_b: used where a request leaves them open; the last two, None, are
        the set's own. Without guidance nothing else strengthens poses.
    scheduler: the solver that the LoRA was made for. The LCM scheduler, which adds noise at every step, is not among them.
    inpaint_strength: one of few steps skipped would be much of the noise.
    """

    place: str
    file: Annotated[str, Meta(pattern=r"^[\w.-]+\.safetensors$")]
    size_gb: float = 0.0
    steps: Steps
    guidance_scale: Annotated[float, Meta(ge=0, le=100)] = 1.0
    controlnet_conditioning_scale: Annotated[float, Meta(ge=0, le=100)] | None = None
    t_b: Annotated[float, Meta(gt=0, le=1)] | None = None
    scheduler: Solver = "ddim"
    inpaint_strength: Annotated[float, Meta(ge=0, le=1)] = 1.0

    def path(self, folder: Path) -> Path:
        """Its file, also where it does not exist. folder: of the manifest."""
        return locate(self.place, folder) / self.file

    def say_how_to_get(self, folder: Path) -> str:
        """What to do where the file is not there."""
        if not is_hub_id(self.place) or (folder / self.place).exists():
            train = f"`beyondscene train few-steps --models {folder}` makes that of an embedded model"
            return f"Put {self.file} into {folder / self.place}; {train}."
        size = f" ({self.size_gb:.1f} GB)" if self.size_gb else ""
        command = download_command(self.place, Download(files=(self.file,), size_gb=self.size_gb))
        return f"Where there is a network, run{size}\n  {command}"
