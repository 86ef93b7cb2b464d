"""The tab in the 3D viewport's sidebar, and how a sentence is shown in it."""

import textwrap
from itertools import groupby
from typing import Any
from unicodedata import east_asian_width

import blf
import bpy

from ..texts import BEYONDSCENE_OT_write_text

LETTER_PX, USUAL_PX = 5.9, 5.5  # of a sentence, as reckoned and as is usual, at a resolution scale of 1, as all here
FRAME_PX, ICON_PX = 48, 36  # of a line: margins, box and the tabs beside it; what an icon before it takes
FILLER = "\0"  # stands for the second column of a letter


class Sidebar:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "BeyondScene"


class Section(Sidebar):
    """A foldable part of the tab. `bl_order` says which: who, how they stand, what is made of them, what came of it."""

    bl_parent_id = "BEYONDSCENE_PT_main"


def draw_prompt(layout: bpy.types.UILayout, own: Any, placeholder: str) -> None:
    """The line of a prompt, or the text that stands for it, and a button that opens the text. own: as of `texts.said_by`."""
    row = layout.row(align=True)
    row.context_pointer_set("beyondscene_owner", own.id_data)
    if own.prompt_text is None:
        row.prop(own, "prompt", text="", placeholder=placeholder)
    else:
        row.prop(own, "prompt_text", text="")
    row.operator(BEYONDSCENE_OT_write_text.bl_idname, text="", icon="TEXT")


def draw_sentence(layout: bpy.types.UILayout, context: bpy.types.Context, sentence: str, icon: str = "NONE") -> None:
    """The whole sentence, broken into lines, those that it has and more: a label is one line and would be cut."""
    columns = max(20, columns_beside(context, FRAME_PX + (0 if icon == "NONE" else ICON_PX)))
    lines = [line for own in sentence.splitlines() for line in wrap_to(own, columns)]
    for number, line in enumerate(lines):
        layout.label(text=line, icon=icon if number == 0 or icon == "NONE" else "BLANK1", translate=False)


def columns_beside(context: bpy.types.Context, taken_px: float) -> int:
    """How many letters fit into a line of the region, of whose width so much is taken."""
    return int((context.region.width / context.preferences.system.ui_scale - taken_px) / LETTER_PX)


def wrap_to(line: str, columns: int) -> list[str]:
    """As wrap, and narrower where letters are wide, as in capitals and in paths, which fill their lines."""
    blf.size(0, bpy.context.preferences.ui_styles[0].widget.points)
    lines: list[str] = []
    for fewer in range(columns, columns // 2, -1):
        lines = wrap(line, fewer)
        if max((blf.dimensions(0, one)[0] for one in lines), default=0) <= columns * USUAL_PX:
            break
    return lines


def wrap(line: str, columns: int) -> list[str]:
    """Lines of so many columns at most, of which a letter of Chinese, Japanese or Korean takes two."""
    wide = "".join(letter + FILLER if east_asian_width(letter) in "WF" else letter for letter in line)
    return [part.replace(FILLER, "") for part in textwrap.wrap(wide, columns)]


def draw_error(layout: bpy.types.UILayout, context: bpy.types.Context, sentence: str) -> bpy.types.UILayout:
    """A red box with the sentence; returns the box, for what helps."""
    box = layout.box()
    column = box.column(align=True)
    column.alert = True
    draw_sentence(column, context, without_commands(sentence), "ERROR")
    return box


def without_commands(sentence: str) -> str:
    """The commands in it, which are lines of their own, are for a terminal: their number is told, and where to have them."""
    lines: list[str] = []
    for indented, some in groupby(sentence.splitlines(), lambda line: line.startswith(" ")):
        told = [*some]
        words = f"({len(told)} command{'s' * (len(told) > 1)}, which Copy Diagnostics puts into the clipboard)"
        lines += [words] if indented else told
    return "\n".join(lines)
