"""Prompts too long for one line: a text of the file has them, which is written in Blender's Text Editor."""

from typing import Any

import bpy

from .overrides import OfOwner
from .viewports import open_area

Result = set[str]


def said_by(own: Any) -> str:
    """The prompt of the scene or person with the settings `own`: their text, as one line, or else their line."""
    return own.prompt if own.prompt_text is None else " ".join(own.prompt_text.as_string().split())


def say(own: Any, prompt: str) -> None:
    """Let `own` have this prompt; a text that says something else is no longer theirs, but stays in the file."""
    if said_by(own) != prompt:
        own.prompt, own.prompt_text = prompt, None


class BEYONDSCENE_OT_write_text(OfOwner, bpy.types.Operator):
    """Write this prompt in Blender's Text Editor, on as many lines as you like"""

    bl_idname = "beyondscene.write_text"
    bl_label = "Write as Text"

    def execute(self, context: bpy.types.Context) -> Result:
        owner = self.owner(context)
        own = owner.beyondscene
        if own.prompt_text is None:
            text = bpy.data.texts.new(f"Prompt of {owner.name}")
            text.from_string(own.prompt)
            own.prompt_text = text
        show(context, own.prompt_text)
        return {"FINISHED"}


def show(context: bpy.types.Context, text: bpy.types.Text) -> None:
    """In a Text Editor that is open, or else in a window of its own."""
    windows = context.window_manager.windows
    areas = [area for window in windows for area in window.screen.areas if area.type == "TEXT_EDITOR"]
    if not areas and not bpy.app.background:
        areas = [open_area()]
    for area in areas[:1]:
        area.type = "TEXT_EDITOR"
        space = area.spaces.active
        space.text, space.show_word_wrap, space.show_syntax_highlight = text, True, False


register, unregister = bpy.utils.register_classes_factory((BEYONDSCENE_OT_write_text,))
