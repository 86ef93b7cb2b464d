"""The BeyondScene tab in the sidebar of the 3D viewport: one file per part, drawing only."""

import bpy

from .characters import BEYONDSCENE_PT_characters
from .main import BEYONDSCENE_PT_main
from .picture import BEYONDSCENE_PT_picture

# In the order in which they stand below each other; the parent comes first.
CLASSES = (BEYONDSCENE_PT_main, BEYONDSCENE_PT_characters, BEYONDSCENE_PT_picture)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
