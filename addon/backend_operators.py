"""What an artist can do with the backend: start it, part from it, see whether it answers."""

import bpy

from . import preferences
from .obstacles import SaysWhyNot
from .operators import outcome
from .session import current
from .ticker import wake

Result = set[str]


class BEYONDSCENE_OT_start_backend(SaysWhyNot, bpy.types.Operator):
    """Start the render backend, or connect to the one of the key file"""

    bl_idname = "beyondscene.start_backend"
    bl_label = "Start Backend"

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        if current().link.lost:
            return "It is tried every 10 s: Test Connection tries it now"
        return "The backend runs already" if current().link.alive else ""

    def execute(self, context: bpy.types.Context) -> Result:
        session = current()
        session.start(preferences.get(context))
        return listen(self)


class BEYONDSCENE_OT_stop_backend(SaysWhyNot, bpy.types.Operator):
    bl_idname = "beyondscene.stop_backend"
    bl_label = "Stop Backend"
    bl_description = (  # a docstring of two lines would be a tooltip of two
        "Stop the backend that was started from here, which frees its memory, or part from another one. The next picture "
        "starts it again, and what is under way is found again, or begins anew where a second Blender had a backend of its own"
    )

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return "" if current().link.alive else "No backend runs"

    def execute(self, context: bpy.types.Context) -> Result:
        current().stop()
        return {"FINISHED"}


class BEYONDSCENE_OT_test_backend(SaysWhyNot, bpy.types.Operator):
    bl_idname = "beyondscene.test_backend"
    bl_label = "Test Connection"
    bl_description = (
        "See whether the backend answers, and which models and LoRAs it has now; start it or connect to it where that is not "
        "done yet. Nothing is rendered"
    )

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        trying = current().link.state in ("starting", "connecting")
        return "It is being tried already: wait for the answer" if trying else ""

    def execute(self, context: bpy.types.Context) -> Result:
        current().test(preferences.get(context))
        return listen(self)


def listen(operator: bpy.types.Operator) -> Result:
    """The end of an operator whose answer is still to come: a timer hears it."""
    if not current().error:
        wake()
    return outcome(operator)


CLASSES = (BEYONDSCENE_OT_start_backend, BEYONDSCENE_OT_stop_backend, BEYONDSCENE_OT_test_backend)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
