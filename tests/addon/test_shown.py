"""Whom panels and buttons show: found once for a redraw, and never those of before an edit."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import exporters, panels
from beyondscene.addon.exporters import find_left_out, people, shown

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an edit makes the add-on look again, however slow this machine is."""
    monkeypatch.setattr(shown, "FRESH_S", float("inf"))


def redraw(bpy: Any) -> str:
    operators = bpy.ops.beyondscene
    buttons = (operators.render, operators.render_animation, operators.preview_controls, operators.save_openpose)
    words = drawn(panels.BEYONDSCENE_PT_main) + drawn(panels.BEYONDSCENE_PT_characters)
    return words + str([button.poll() for button in buttons])


def test_people_are_found_once_for_all_that_a_redraw_asks(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    looks = []
    monkeypatch.setattr(shown, "find_people", lambda layer, find=shown.find_people: looks.append(layer) or find(layer))
    first = redraw(blender)
    assert redraw(blender) == first and len(looks) == 1
    blender.data.objects["Eve"].location.x += 0.1
    blender.context.view_layer.update()
    redraw(blender)
    assert len(looks) == 2


def test_what_speaks_against_somebody_undescribed_is_asked_once(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    eve, flo = rigs = [blender.data.objects[name] for name in ("Eve", "Flo")]
    for rig in rigs:
        rig.beyondscene.property_unset("enabled")
        rig.beyondscene.prompt = ""
    asked, matched = [], []
    monkeypatch.setattr(people, "find_wearer", lambda rig, find=people.find_wearer: asked.append(rig.name) or find(rig))
    monkeypatch.setattr(people, "best_match", lambda rig, match=people.best_match: matched.append(rig.name) or match(rig))
    for _ in range(2):
        assert "Off, since" not in redraw(blender)
        assert all(rig.beyondscene.drawn for rig in rigs)  # as Blender asks for each checkbox
    assert asked == matched == ["Eve", "Flo"]
    eve.constraints.new("CHILD_OF").target = flo
    blender.context.view_layer.update()
    assert not eve.beyondscene.drawn and flo.beyondscene.drawn
    assert "Off, since it moves with 'Flo'" in redraw(blender)
    flo.beyondscene.drawn = False
    monkeypatch.delattr(shown, "find_people")  # by which groups may be made, and Blender asks while it saves an override, too
    assert not flo.beyondscene.drawn


def hide(bpy: Any, rig: Any, body: Any) -> None:
    rig.hide_set(True)
    body.hide_set(True)


def leave_out_of_renders(bpy: Any, rig: Any, body: Any) -> None:
    rig.hide_render = body.hide_render = True


def exclude(bpy: Any, rig: Any, body: Any) -> None:
    stored = bpy.data.collections.new("Stored")
    bpy.context.scene.collection.children.link(stored)
    for thing in (rig, body):
        for collection in thing.users_collection:
            collection.objects.unlink(thing)
        stored.objects.link(thing)
    bpy.context.view_layer.layer_collection.children["Stored"].exclude = True


def remove(bpy: Any, rig: Any, body: Any) -> None:
    bpy.data.objects.remove(rig)


def hide_later(bpy: Any, rig: Any, body: Any) -> None:
    for thing in (rig, body):
        thing.hide_viewport = False
        thing.keyframe_insert("hide_viewport", frame=1)
        thing.hide_viewport = True
        thing.keyframe_insert("hide_viewport", frame=2)
    bpy.context.scene.frame_set(1)
    assert "Eve" in redraw(bpy)
    bpy.context.scene.frame_set(2)


@pytest.mark.parametrize("edit", [hide, leave_out_of_renders, exclude, remove, hide_later], ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("evaluated", [False, True])
def test_an_edit_is_seen_at_once(blender: Any, example: Example, edit: Callable[..., None], evaluated: bool) -> None:
    example("duo")
    assert "Eve" in redraw(blender)
    edit(blender, blender.data.objects["Eve"], blender.data.objects["Eve.body"])
    if evaluated:
        blender.context.view_layer.update()
    words = redraw(blender)
    assert "Eve" not in words and "Flo" in words


def test_somebody_new_can_be_rendered_before_anything_is_drawn_again(blender: Any, example: Example) -> None:
    example("duo")
    rigs = [blender.data.objects[name] for name in ("Eve", "Flo")]
    rigs[0].beyondscene.enabled = rigs[1].beyondscene.enabled = False
    assert not blender.ops.beyondscene.render.poll()
    twin = rigs[0].copy()
    twin.beyondscene.enabled = True
    assert not blender.ops.beyondscene.render.poll()
    blender.context.scene.collection.objects.link(twin)
    assert blender.ops.beyondscene.render.poll()


def test_people_come_back_with_an_undo(blender: Any, example: Example) -> None:
    example("duo")
    blender.ops.ed.undo_push(message="before")
    hide(blender, blender.data.objects["Eve"], blender.data.objects["Eve.body"])
    blender.ops.ed.undo_push(message="hide")
    assert "Eve" not in redraw(blender)
    blender.ops.ed.undo()
    assert "Eve" in redraw(blender)


def test_who_is_left_out_is_found_once_until_somebody_moves(
    blender: Any, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("duo")
    eve = blender.data.objects["Eve"]
    looks = []
    gather = exporters.gather_keypoints
    monkeypatch.setattr(exporters, "gather_keypoints", lambda *of: looks.append(of[0].name) or gather(*of))
    assert not find_left_out(blender.context) and not find_left_out(blender.context)
    assert looks == ["Eve", "Flo"]
    eve.location.x = 50
    assert [person.name for person, _ in find_left_out(blender.context)] == ["Eve"]
    eve.location.x, blender.context.scene.camera.location.x = 0, 50
    assert [person.name for person, _ in find_left_out(blender.context)] == ["Eve", "Flo"]
    blender.context.scene.camera.location.x = 0
    assert not find_left_out(blender.context)
    for bone in eve.pose.bones:
        if bone.parent is None:
            bone.location = (0, 50, 0)
    assert [person.name for person, _ in find_left_out(blender.context)] == ["Eve"]
    eve.beyondscene.drawn = False
    assert not find_left_out(blender.context)
    eve.beyondscene.drawn, blender.context.scene.camera.data.clip_end = True, 1
    assert len(find_left_out(blender.context)) == 2
