"""What an artist can do with the backend: start it, part from it, see whether it answers."""

import bpy

from . import preferences
from .operators import outcome
from .session import current, wake

Result = set[str]


class BEYONDSCENE_OT_start_backend(bpy.types.Operator):
    """Start the render backend, or connect to the one of the key file"""

    bl_idname = "beyondscene.start_backend"
    bl_label = "Start Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if current().alive:
            cls.poll_message_set("The backend runs already")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        session = current()
        session.start(preferences.get(context))
        return listen(self)


class BEYONDSCENE_OT_stop_backend(bpy.types.Operator):
    """Stop the backend that was started from here, or part from another one. What is under way there is found again"""

    bl_idname = "beyondscene.stop_backend"
    bl_label = "Stop Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not current().alive:
            cls.poll_message_set("No backend runs")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        current().stop()
        return {"FINISHED"}


class BEYONDSCENE_OT_test_backend(bpy.types.Operator):
    """See whether the backend answers; start it or connect to it where that is not done yet. Nothing is rendered"""

    bl_idname = "beyondscene.test_backend"
    bl_label = "Test Connection"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if current().backend in ("starting", "connecting"):
            cls.poll_message_set("It is being tried already: wait for the answer")
            return False
        return True

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
