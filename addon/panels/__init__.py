"""The BeyondScene tab in the sidebar of the 3D viewport: one file per part, drawing only."""

import bpy

from .animation import BEYONDSCENE_PT_animation
from .backend import BEYONDSCENE_PT_backend
from .characters import BEYONDSCENE_PT_characters
from .main import BEYONDSCENE_PT_main
from .picture import BEYONDSCENE_PT_knobs, BEYONDSCENE_PT_picture
from .pictures import BEYONDSCENE_PT_pictures

# The parent comes first.
CLASSES = (
    BEYONDSCENE_PT_main,
    BEYONDSCENE_PT_characters,
    BEYONDSCENE_PT_picture,
    BEYONDSCENE_PT_knobs,
    BEYONDSCENE_PT_animation,
    BEYONDSCENE_PT_pictures,
    BEYONDSCENE_PT_backend,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
