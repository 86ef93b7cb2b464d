"""What an artist sets once per machine: where the backend is."""

# pyright: reportInvalidTypeForm=false

from typing import NamedTuple

import bpy
from bpy.props import EnumProperty, StringProperty

from .. import __package__ as base_package
from .backend_process import default_python
from .images import expand


class Preferences(NamedTuple):
    """The preferences as plain values, also where the add-on runs without being enabled as one."""

    python: str
    connection_file: str | None  # None: a backend of our own; empty: not chosen yet
    models_folder: str


class BEYONDSCENE_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = base_package

    place: EnumProperty(
        name="Backend",
        items=(
            ("LOCAL", "This Machine", "Start it from here when it is needed, with the Python below"),
            ("OTHER", "Key File", "One that runs already, here or on another machine, found by the file that it gave out"),
        ),
        default="LOCAL",
    )
    python: StringProperty(
        name="Backend's Python",
        description="Python of the environment that the backend was installed in, such as .venv/bin/python of its folder, or "
        ".venv\\Scripts\\python.exe on Windows. "
        "Empty: the environment variable BEYONDSCENE_PYTHON",
        subtype="FILE_PATH",
    )
    connection_file: StringProperty(
        name="Key File",
        description="Endpoint and keys of a backend that runs already, as `beyondscene serve` writes them",
        subtype="FILE_PATH",
    )
    models_folder: StringProperty(
        name="Model Sets",
        description="Folder of a model set beside those that come with the backend, or a finetune of SDXL in one file",
        subtype="FILE_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        from .panels.backend import draw_backend  # which needs this file

        draw_backend(self.layout, context, self)


def draw_backend_place(layout: bpy.types.UILayout, own: BEYONDSCENE_AP_preferences) -> None:
    """Where the backend is: here and in the panel."""
    layout.row().prop(own, "place", expand=True)
    layout.use_property_split, layout.use_property_decorate = True, False
    if own.place == "LOCAL":
        layout.prop(own, "python", placeholder=default_python())
        layout.prop(own, "models_folder")
    else:
        layout.prop(own, "connection_file")


def stored(context: bpy.types.Context) -> BEYONDSCENE_AP_preferences | None:
    """What Blender keeps of them; nothing where the add-on runs without being enabled as one, as in the bpy wheel."""
    addon = context.preferences.addons.get(base_package)
    return addon and addon.preferences


def get(context: bpy.types.Context) -> Preferences:
    """The preferences; defaults where Blender holds none, as in the bpy wheel."""
    own = stored(context)
    if own is None:
        return Preferences(default_python(), None, "")
    return Preferences(
        # Not resolved further: the python of a virtual environment is a link, and only the link knows its packages.
        path(own.python) or default_python(),
        path(own.connection_file) if own.place == "OTHER" else None,
        path(own.models_folder),
    )


def path(written: str) -> str:
    """As an artist writes or pastes it: relative to the .blend, from the home folder, in quotes."""
    text = written.strip().strip("\"'")
    return str(expand(text)) if text else ""


def register() -> None:
    bpy.utils.register_class(BEYONDSCENE_AP_preferences)


def unregister() -> None:
    bpy.utils.unregister_class(BEYONDSCENE_AP_preferences)
