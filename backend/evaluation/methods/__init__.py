"""The methods that are held against each other, one file each, all with the same models, request, seed and steps.

Each file has `draw(models, request, arrays, watcher)`, which returns the picture, uint8 (height, width, 3), and READS, the
names of the settings that it reads: a variant that changes another one is refused. To add a method, add its file and its line
here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np
from msgspec.structs import replace

from ....protocol import Refusal, is_seen
from ...models.extras import gather_extras

if TYPE_CHECKING:  # names alone must not load torch
    from ....protocol import RenderRequest
    from ...models.load import Models
    from ...watch import Watcher

METHODS = {
    "direct": "the whole picture in one view, at full size",
    "multidiffusion": "overlapping views of one noise, one prompt for all (arXiv 2302.08113)",
    "regional_multidiffusion": "the same with a prompt per person, inside a mask (arXiv 2302.08113, region-based)",
    "demofusion": "progressive upscaling with skip residual and dilated sampling (arXiv 2311.16973)",
    "upscale": "our base image, enlarged by Lanczos interpolation",
    "beyondscene": "the pipeline of this project (arXiv 2404.04544)",
}


class Draw(Protocol):
    """A method. `request` has its settings resolved. arrays: its masks by digest, which a method may do without."""

    def __call__(
        self, models: "Models", request: "RenderRequest", arrays: dict[str, np.ndarray], watcher: "Watcher"
    ) -> np.ndarray: ...


def check_method(name: str) -> None:
    """Raise Refusal for a name that is no method's."""
    if name not in METHODS:
        raise Refusal(f"There is no method '{name}': known are {', '.join(METHODS)}.")


def load_method(name: str) -> Draw:
    """The method, with what the request wears loaded while it draws, the LoRA for few steps included.

    Nobody draws whom their mask shows nowhere: ours would not, and their words and limbs would count against the others.
    """
    check_method(name)
    module = import_module(f".{name}", __name__)

    def draw(models: "Models", request: "RenderRequest", arrays: dict[str, np.ndarray], watcher: "Watcher") -> np.ndarray:
        seen = tuple(person for person in request.characters if is_seen(person, arrays))
        with models.adapters.loaded(gather_extras(request, models.model_set)):
            return module.draw(models, replace(request, characters=seen), arrays, watcher)

    return draw


def settings_of(name: str) -> tuple[str, ...]:
    """The settings that a method reads."""
    return tuple(sorted(import_module(f".{name}", __name__).READS))
