"""What an artist sets once per machine: where the backend is."""

# pyright: reportInvalidTypeForm=false

from typing import NamedTuple

import bpy
from bpy.props import StringProperty

from .. import __package__ as base_package
from .backend_process import default_python


class Preferences(NamedTuple):
    """The preferences as plain values, also where the add-on runs without being enabled as one."""

    python: str
    connection_file: str
    models_folder: str


class BEYONDSCENE_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = base_package

    python: StringProperty(
        name="Backend's Python",
        description="Python in which `pip install beyondscene` was run; empty: the environment variable BEYONDSCENE_PYTHON",
        subtype="FILE_PATH",
    )
    connection_file: StringProperty(
        name="Connection File",
        description="Of a backend that runs already; empty: start one when it is needed",
        subtype="FILE_PATH",
    )
    models_folder: StringProperty(
        name="Model Sets",
        description="Folder of a model set beside those that come with the backend",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.use_property_split = True
        self.layout.prop(self, "python", placeholder=default_python())
        self.layout.prop(self, "models_folder")
        self.layout.prop(self, "connection_file")


def get(context: bpy.types.Context) -> Preferences:
    """The preferences; defaults where Blender holds none, as in the bpy wheel."""
    addon = context.preferences.addons.get(base_package)
    if addon is None or addon.preferences is None:
        return Preferences(default_python(), "", "")
    own = addon.preferences
    path = bpy.path.abspath
    return Preferences(
        # Not resolved further: the python of a virtual environment is a link, and only the link knows its packages.
        path(own.python) or default_python(),
        path(own.connection_file),
        path(own.models_folder),
    )


def register() -> None:
    bpy.utils.register_class(BEYONDSCENE_AP_preferences)


def unregister() -> None:
    bpy.utils.unregister_class(BEYONDSCENE_AP_preferences)
