"""Buttons that say why they are grey."""

from collections.abc import Callable

import bpy


class SaysWhyNot:
    """A part of an operator: it runs where there is no obstacle, and shows the obstacle under the mouse where there is one."""

    poll_message_set: Callable[[str], None]  # the operator's

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        """What is in the way now, with the next step; empty where nothing is. Cheap enough for every redraw."""
        raise NotImplementedError

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        sentence = cls.obstacle(context)
        if sentence:
            cls.poll_message_set(sentence)
        return not sentence
