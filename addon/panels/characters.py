"""The list of characters: one row per rig, with its rig and its prompts."""

from collections.abc import Sequence
from typing import get_args

import bpy

from ...protocol import PartName
from ..character_operators import BEYONDSCENE_OT_add_person, BEYONDSCENE_OT_draw_seed, BEYONDSCENE_OT_select_person
from ..exporters import ExportError, Person, find_left_out, find_shown, note_drawn
from ..exporters.rigs import MIN_COVERAGE, Match
from ..loras import draw_add_lora, draw_loras, known_loras
from ..overrides import is_editable
from .sidebar import ICON_PX, Section, columns_beside, draw_prompt, draw_sentence

BESIDE_NAMES_PX = 155  # what the row of a person has beside their name and their rig's


class BEYONDSCENE_PT_characters(Section, bpy.types.Panel):
    bl_label = "Characters"
    bl_translation_context = "BeyondScene"  # in Blender's own they are letters
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        people, known, left_out = find_shown(context.view_layer), known_loras(context.scene), why_left_out(context)
        column = self.layout.column()
        note_drawn(people)
        for person in people:
            box = column.box()
            draw_character(box, context, person, known)
            if person.enabled and person.match.coverage < MIN_COVERAGE:
                sentence = "Nothing can be rendered until its joints are named under Joints, or it is unticked"
                draw_sentence(box.column(align=True), context, sentence, "ERROR")
            elif person.id in left_out:
                draw_sentence(box.column(align=True), context, f"Left out: {left_out[person.id]}", "HIDE_ON")
        if not people:
            column.label(text="Each visible armature is one person", icon="INFO")
        column.operator(BEYONDSCENE_OT_add_person.bl_idname, icon="ADD")


def why_left_out(context: bpy.types.Context) -> dict[str, str]:
    """Why somebody would not be in the picture, by id; nothing while an animation plays, which that would slow down."""
    if context.screen and context.screen.is_animation_playing:
        return {}
    try:
        return {person.id: why for person, why in find_left_out(context)}
    except ExportError:  # no camera, which the head of the tab says
        return {}


def draw_character(layout: bpy.types.UILayout, context: bpy.types.Context, person: Person, loras: Sequence[str]) -> None:
    own, match, enabled = person.described.beyondscene, person.match, person.enabled
    row = layout.row()
    row.operator(BEYONDSCENE_OT_select_person.bl_idname, text="", icon="RESTRICT_SELECT_OFF", emboss=False).id = person.id
    row.prop(own, "drawn", text=person.name, translate=False)
    swatch = row.row()
    swatch.ui_units_x = 1
    swatch.prop(own, "colour", text="")
    if match.coverage < MIN_COVERAGE:
        told, icon = "unknown rig", "ERROR"
    else:
        told, icon = describe_match(match), "QUESTION" if match.guessed else "NONE"
    room = columns_beside(context, BESIDE_NAMES_PX + (0 if icon == "NONE" else ICON_PX))
    rig = (row if len(person.name) + len(told) <= room else layout).row()  # else the name would be cut
    rig.alignment, rig.alert = "RIGHT", enabled and icon == "ERROR"
    rig.label(text=told, icon=icon)
    if not enabled and person.said is None:
        sentence = f"Off, since {person.doubt}: tick it if it is a person of its own"
        draw_sentence(layout.column(align=True), context, sentence, "INFO")
    if not is_editable(person.described):
        sentence = "Linked from another file: select it and choose Object > Library Override > Make to describe it here"
        draw_sentence(layout.column(align=True), context, sentence, "LIBRARY_DATA_DIRECT")
    if enabled:
        column = layout.column(align=True)
        draw_prompt(column, own, person.prompt or "describe this person")
        column.prop(own, "negative_prompt", text="", placeholder="not wanted (optional)")
        if own.show_parts:
            column = layout.column(align=True)
            for part in get_args(PartName):
                column.prop(own.parts, part, text="", placeholder=part.replace("_", " "))
        draw_loras(layout, person.described, loras)
        if own.use_own_seed:
            draw_seed(layout, person.described)
        row = layout.row()
        row.prop(own, "show_parts", icon="DISCLOSURE_TRI_DOWN" if own.show_parts else "DISCLOSURE_TRI_RIGHT", emboss=False)
        if not own.use_own_seed:
            row.prop(own, "use_own_seed", text="Seed", icon="UNLOCKED", emboss=False)
        draw_add_lora(row, person.described, "LoRA")  # three share the row


def draw_seed(layout: bpy.types.UILayout, owner: bpy.types.ID) -> None:
    """A person's own. owner: the object that describes them."""
    row = layout.row(align=True)
    row.context_pointer_set("beyondscene_owner", owner)
    row.prop(owner.beyondscene, "seed")
    row.operator(BEYONDSCENE_OT_draw_seed.bl_idname, text="", icon="FILE_REFRESH")
    row.prop(owner.beyondscene, "use_own_seed", text="", icon="LOCKED")


def describe_match(match: Match) -> str:
    """Family, limb joints found of twelve, and how many the artist set."""
    corrected = f", {len(match.corrected)} set" if match.corrected else ""
    return f"{match.label} {match.limbs_found}/12{corrected}"
