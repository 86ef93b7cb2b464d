"""Every part of the tab draws, in an empty scene and in a full one, and says what is in the way."""

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("bpy")

import blf
import bpy
from beyondscene.addon import joints, panels
from beyondscene.addon.diagnostics import describe
from beyondscene.addon.exporters import best_match, find_people
from beyondscene.addon.panels import backend, characters
from beyondscene.addon.panels.sidebar import wrap, wrap_to
from beyondscene.addon.problem import Problem
from beyondscene.addon.session import current

from .drawing import ICONS, drawn

Example = Callable[[str], dict[str, Any]]

PARTS = [*panels.CLASSES, joints.BEYONDSCENE_PT_joints]


@pytest.mark.parametrize("panel", PARTS, ids=lambda panel: panel.__name__)
def test_it_draws_with_and_without_people(blender: Any, example: Example, panel: Any) -> None:
    empty = drawn(panel)
    example("plaza")
    blender.context.view_layer.objects.active = blender.data.objects["Ana"]
    blender.context.scene.beyondscene.quality = "CUSTOM"
    full = drawn(panel)
    expected = {
        "BEYONDSCENE_PT_main": ("The scene 'Scene' has no camera: add one", "Render Picture"),
        "BEYONDSCENE_PT_characters": ("Each visible armature is one person", "Cy\nColour\nRigify 12/12"),
        "BEYONDSCENE_PT_picture": ("The models' own steps, ddim", "1536 x 1024 px, from Output Properties"),
        "BEYONDSCENE_PT_knobs": ("Guidance Scale", "HcP Scale"),
        "BEYONDSCENE_PT_animation": ("Frames 1 to 250, 250 pictures", "Render Animation"),
        "BEYONDSCENE_PT_pictures": ("None yet", "None yet"),
        "BEYONDSCENE_PT_backend": ("Test Connection", "Test Connection"),
        "BEYONDSCENE_PT_joints": ("Select the rig of a person", "Ana, Mixamo"),
    }[panel.__name__]
    assert expected[0] in empty and expected[1] in full


def test_the_commands_in_a_message_are_for_the_clipboard(blender: Any) -> None:
    commands = "  hf download base  # base\n  hf download vae  # vae"
    current().problem = Problem("picture", f"The model set 'sdxl' lacks its base, vae models. Run\n{commands}\nor name others.")
    shown = drawn(panels.BEYONDSCENE_PT_main)
    assert "Run\n(2 commands, which Copy Diagnostics puts into the clipboard)\nor name others." in shown
    assert "hf download" not in shown
    assert commands in describe(blender.context)


def test_a_path_of_capitals_is_broken_into_lines_that_fit(blender: Any) -> None:
    path = r"C:\USERS\ADMINISTRATOR\DOCUMENTS\WMMW\RENDERS\ANIMATION 0001 is full: make room there"
    lines = wrap_to(path, 33)
    assert max(blf.dimensions(0, line)[0] for line in wrap(path, 33)) > 33 * 5.9
    assert max(blf.dimensions(0, line)[0] for line in lines) < 33 * 5.9
    assert "".join(lines).replace(" ", "") == path.replace(" ", "")


def test_a_sentence_with_letters_twice_as_wide_is_broken_into_lines_that_fit() -> None:
    sentence = "Its file /home/ゆき/デスクトップ/卒業制作プロジェクト/レンダリング結果/夏.png is gone: render it again."
    lines = wrap(sentence, 30)
    assert max(sum(2 if letter > "\u2fff" else 1 for letter in line) for line in lines) <= 30
    assert "".join(lines).replace(" ", "") == sentence.replace(" ", "")
    assert wrap("The same in English, as ever.", 20) == ["The same in English,", "as ever."]


@pytest.mark.parametrize(
    ("panel", "told"),
    [
        (panels.BEYONDSCENE_PT_animation, "Frames 1 to 250, 250 pictures, from Output Properties"),
        (panels.BEYONDSCENE_PT_picture, "Views 64 apart, 32 over people (of 128)"),
    ],
)
def test_in_a_narrow_sidebar_nothing_is_cut_off(blender: Any, example: Example, panel: Any, told: str) -> None:
    example("plaza")
    narrow = drawn(panel, width_px=260)
    assert told not in narrow and told in narrow.replace("\n", " ")
    assert max(map(len, narrow.splitlines())) <= (260 - 48) / 5.9  # of which Blender shows as many at that width


@pytest.mark.parametrize(
    ("name", "width_px", "own_row"), [("Ana", 260, False), ("Person.001", 280, True), ("Person.001", 400, False)]
)
def test_the_kind_of_a_rig_leaves_the_name_its_room(
    blender: Any, example: Example, name: str, width_px: int, own_row: bool
) -> None:
    example("plaza")
    blender.data.objects["Ana"].name = name
    person = next(one for one in find_people(blender.context.view_layer) if one.name == name)
    layout, context, seen = MagicMock(), MagicMock(), []
    context.region.width, context.preferences.system.ui_scale = width_px, 1
    layout.row().label.side_effect = lambda **_: seen.append("a row of its own")
    characters.draw_character(layout, context, person, ())
    assert bool(seen) is own_row


def test_the_people_are_no_letters_in_other_languages() -> None:
    assert characters.BEYONDSCENE_PT_characters.bl_translation_context != bpy.app.translations.contexts.default


def test_the_name_of_a_bone_is_no_word_of_other_languages(blender: Any, example: Example) -> None:
    example("plaza")
    rig, layout = blender.data.objects["Ana"], MagicMock()
    joints.draw_joint(layout, rig, "Head", best_match(rig))
    assert layout.split().row().prop.call_args.kwargs["translate"] is False


def test_a_simulation_that_would_stand_still_in_an_animation_is_named_until_it_is_baked(blender: Any) -> None:
    scene = blender.context.scene
    blender.ops.mesh.primitive_grid_add(x_subdivisions=2, y_subdivisions=2)
    coat = blender.context.object
    coat.name = "Coat"
    hair = coat.modifiers.new("Hair", "PARTICLE_SYSTEM").particle_system
    hair.settings.type = "HAIR"
    assert "not baked" not in drawn(panels.BEYONDSCENE_PT_animation)
    cache = coat.modifiers.new("Cloth", "CLOTH").point_cache
    assert "The simulation of 'Coat' is not baked" in drawn(panels.BEYONDSCENE_PT_animation)
    coat.hide_set(True)
    assert "not baked" not in drawn(panels.BEYONDSCENE_PT_animation)
    coat.hide_set(False)
    cache.frame_end = scene.frame_end = 3
    with blender.context.temp_override(point_cache=cache):
        blender.ops.ptcache.bake(bake=True)
    assert "not baked" not in drawn(panels.BEYONDSCENE_PT_animation)
    hair.settings.type = "EMITTER"
    assert "not baked" in drawn(panels.BEYONDSCENE_PT_animation)
    hair.settings.physics_type = "NO"
    blender.ops.rigidbody.object_add()
    assert "The rigid bodies are not baked" in drawn(panels.BEYONDSCENE_PT_animation)


def test_points_of_a_face_are_chosen_where_vertices_are(blender: Any, example: Example) -> None:
    example("plaza")
    blender.context.view_layer.objects.active = blender.data.objects["Ana.body"]
    assert "Select the rig of a person" in drawn(joints.BEYONDSCENE_PT_joints)
    blender.ops.object.mode_set(mode="EDIT")
    assert "Choose Point of Face" in drawn(joints.BEYONDSCENE_PT_joints)
    blender.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("name", ["Ana", "Ana.body"])
def test_nothing_is_rendered_of_a_rig_or_a_body_in_edit_mode_where_it_has_no_pose(
    blender: Any, example: Example, name: str
) -> None:
    example("plaza")
    hat, thing = blender.data.objects.new("Hat", blender.data.meshes.new("Hat")), blender.data.objects[name]
    blender.context.scene.collection.objects.link(hat)
    blender.context.view_layer.objects.active = hat
    blender.ops.object.mode_set(mode="EDIT")
    assert blender.ops.beyondscene.render.poll()  # it has no pose to lose
    blender.ops.object.mode_set(mode="OBJECT")
    thing.select_set(True)
    blender.context.view_layer.objects.active = thing
    blender.ops.object.mode_set(mode="EDIT")
    for operator in (blender.ops.beyondscene.render, blender.ops.beyondscene.preview_controls):
        assert not operator.poll()
    assert f"'{name}' is in Edit Mode, where Blender shows it without its pose" in drawn(panels.BEYONDSCENE_PT_main)
    blender.ops.object.mode_set(mode="OBJECT")
    assert blender.ops.beyondscene.render.poll()


def test_nothing_is_rendered_of_a_rig_that_another_window_has_in_edit_mode(blender: Any, example: Example) -> None:
    example("plaza")
    window = blender.context.window
    window.view_layer.objects.active = blender.data.objects["Ana"]
    blender.ops.object.mode_set(mode="EDIT")
    window.view_layer = window.scene.view_layers.new("Other")
    assert window.view_layer.objects.active is None
    assert "'Ana' is in Edit Mode" in drawn(panels.BEYONDSCENE_PT_main)


def test_nothing_is_rendered_of_an_instance_whose_rig_another_scene_has_in_edit_mode(blender: Any, example: Example) -> None:
    example("duo")
    window, collection = blender.context.window, blender.data.collections.new("Cast")
    scene, other, instance = window.scene, blender.data.scenes.new("Cast"), blender.data.objects.new("Eve here", None)
    for name in ("Eve", "Eve.body"):
        collection.objects.link(blender.data.objects[name])
        scene.collection.objects.unlink(blender.data.objects[name])
    other.collection.children.link(collection)
    window.scene = other
    window.view_layer.objects.active = blender.data.objects["Eve"]
    blender.ops.object.mode_set(mode="EDIT")
    window.scene = scene
    assert blender.ops.beyondscene.render.poll()  # Flo alone
    scene.collection.objects.link(instance)
    instance.instance_type, instance.instance_collection = "COLLECTION", collection
    assert "'Eve' is in Edit Mode" in drawn(panels.BEYONDSCENE_PT_main)


@pytest.mark.parametrize("how", ["dyntopo", "multires before the rig", "multires after the rig"])
def test_nothing_is_rendered_of_a_body_that_is_sculpted_without_its_pose(blender: Any, example: Example, how: str) -> None:
    example("plaza")
    body = blender.data.objects["Ana.body"]
    blender.context.view_layer.objects.active = body
    if how != "dyntopo":
        body.modifiers.new("Multires", "MULTIRES")
        blender.ops.object.multires_subdivide(modifier="Multires")
        body.modifiers.move(len(body.modifiers) - 1, len(body.modifiers) - 1 if "after" in how else 0)
    blender.ops.object.mode_set(mode="SCULPT")
    assert blender.ops.beyondscene.render.poll() == (how != "multires before the rig")
    if how == "dyntopo":
        blender.ops.sculpt.dynamic_topology_toggle()
    blender.context.view_layer.objects.active = blender.data.objects["Ana"]  # as by a click without Lock Object Modes
    posed = "'Ana.body' is in Sculpt Mode" not in drawn(panels.BEYONDSCENE_PT_main)
    assert posed == (how == "multires after the rig")
    blender.context.view_layer.objects.active = body
    blender.ops.object.mode_set(mode="OBJECT")
    assert blender.ops.beyondscene.render.poll()


def test_every_state_of_the_backend_has_a_dot_that_this_blender_knows() -> None:
    assert {icon for _, icon in backend.STATES.values()} | {backend.RED} <= ICONS
