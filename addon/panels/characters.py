"""The list of characters: one row per rig, with its rig and its prompts."""

from collections.abc import Sequence
from typing import get_args

import bpy

from ...protocol import PartName
from ..character_operators import BEYONDSCENE_OT_select_person
from ..exporters import Person, best_match, find_people
from ..exporters.rigs import MIN_COVERAGE, Match
from ..loras import draw_add_lora, draw_loras, known_loras
from .sidebar import Section


class BEYONDSCENE_PT_characters(Section, bpy.types.Panel):
    bl_label = "Characters"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        people, known = find_people(context.view_layer), known_loras(context.scene)
        column = self.layout.column()
        for person in people:
            draw_character(column.box(), person, known)
        if not people:
            column.label(text="Each visible armature is one person", icon="INFO")


def draw_character(layout: bpy.types.UILayout, person: Person, loras: Sequence[str]) -> None:
    own, match = person.described.beyondscene, best_match(person.armature)
    row = layout.row()
    row.operator(BEYONDSCENE_OT_select_person.bl_idname, text="", icon="RESTRICT_SELECT_OFF", emboss=False).id = person.id
    row.prop(own, "enabled", text=person.name)
    swatch = row.row()
    swatch.ui_units_x = 1
    swatch.prop(own, "colour", text="")
    rig = row.row()
    rig.alignment = "RIGHT"
    if match.coverage < MIN_COVERAGE:
        rig.alert = own.enabled
        rig.label(text="unknown rig", icon="ERROR")
    else:
        rig.label(text=describe_match(match), icon="QUESTION" if match.guessed else "NONE")
    if own.enabled:
        column = layout.column(align=True)
        column.prop(own, "prompt", text="", placeholder=person.prompt or "describe this person")
        column.prop(own, "negative_prompt", text="", placeholder="not wanted (optional)")
        if own.show_parts:
            column = layout.column(align=True)
            for part in get_args(PartName):
                column.prop(own.parts, part, text="", placeholder=part.replace("_", " "))
        draw_loras(layout, person.described, loras)
        row = layout.row()
        row.prop(own, "show_parts", icon="DISCLOSURE_TRI_DOWN" if own.show_parts else "DISCLOSURE_TRI_RIGHT", emboss=False)
        draw_add_lora(row, person.described)


def describe_match(match: Match) -> str:
    """Family, limb joints found of twelve, and how many the artist set."""
    corrected = f", {len(match.corrected)} set" if match.corrected else ""
    return f"{match.label} {match.limbs_found}/12{corrected}"
