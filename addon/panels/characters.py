"""The list of characters: one row per visible armature, with its rig and its prompts."""

import bpy

from ..exporters import best_match, find_armatures
from ..exporters.rigs import MIN_COVERAGE, Match
from .sidebar import Section


class BEYONDSCENE_PT_characters(Section, bpy.types.Panel):
    bl_label = "Characters"

    def draw(self, context: bpy.types.Context) -> None:
        armatures = find_armatures(context.view_layer)
        column = self.layout.column()
        for armature in armatures:
            draw_character(column.box(), armature)
        if not armatures:
            column.label(text="Each visible armature is one person", icon="INFO")


def draw_character(layout: bpy.types.UILayout, armature: bpy.types.Object) -> None:
    own = armature.beyondscene
    match = best_match(armature)
    row = layout.row()
    row.prop(own, "enabled", text=armature.name)
    rig = row.row()
    rig.alignment = "RIGHT"
    if match.coverage < MIN_COVERAGE:
        rig.alert = own.enabled
        rig.label(text="unknown rig", icon="ERROR")
    else:
        rig.label(text=describe_match(match), icon="QUESTION" if match.guessed else "NONE")
    if own.enabled:
        column = layout.column(align=True)
        column.prop(own, "prompt", text="", placeholder="describe this person")
        column.prop(own, "negative_prompt", text="", placeholder="not wanted (optional)")


def describe_match(match: Match) -> str:
    """Family, limb joints found of twelve, and how many the artist set."""
    corrected = f", {len(match.corrected)} set" if match.corrected else ""
    return f"{match.label} {match.limbs_found}/12{corrected}"
