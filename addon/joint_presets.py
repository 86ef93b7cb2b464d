"""An artist's corrections of joints as files, which stay when the extension is uninstalled."""

import re
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ..protocol.whole import whole_file
from . import images
from .exporters.rigs import CORRECTABLE, Anchor

NAME = re.compile(r"\w[\w .-]{0,63}")


class PresetError(ValueError):
    """A preset cannot be saved or used. The message names the thing, the rule and the next step."""


class JointPreset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a preset file holds, as JSON. joints: role (see CORRECTABLE) to the end of a bone."""

    format: Literal[1]
    joints: dict[str, Anchor]

    def __post_init__(self) -> None:
        if unknown := self.joints.keys() - set(CORRECTABLE):
            raise ValueError(f"there is no joint {min(unknown)!r}")


def preset_names() -> list[str]:
    return sorted({path.stem for place in (folder(), earlier_folder()) for path in place.glob("*.json")})


def save_preset(name: str, joints: dict[str, Anchor]) -> Path:
    """Write the preset `name`, over one of that name. Raises PresetError where it has none that a file can have, OSError."""
    if not NAME.fullmatch(name):
        raise PresetError(f"'{name}' cannot name a preset: use letters, digits, spaces, dots and dashes, 64 at most.")
    if not joints:
        raise PresetError("No joint was set by hand, so there is nothing to save: set one first.")
    path = folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(JointPreset(format=1, joints=joints)), indent=2))
    return path


def load_preset(name: str) -> dict[str, Anchor]:
    """The joints of the preset `name`. Raises PresetError where there is none of that name, or its file is no preset."""
    names = preset_names()
    if name not in names:  # and is no path to elsewhere
        choose = f"choose one of {', '.join(names)}" if names else "save one from a rig first"
        raise PresetError(f"There is no preset '{name}': {choose}.")
    path = folder() / f"{name}.json"
    if not path.exists() and (earlier := earlier_folder() / path.name).exists():
        path = earlier
    try:
        return msgspec.json.decode(path.read_bytes(), type=JointPreset).joints
    except (OSError, ValueError) as error:  # what is no JSON, or no UTF-8
        raise PresetError(f"The preset '{name}' cannot be read ({error}): save it again, or delete {path}.") from error


def folder() -> Path:
    return images.kept_folder() / "joints"


def earlier_folder() -> Path:
    """Where earlier versions saved them."""
    return images.own_folder() / "joints"
