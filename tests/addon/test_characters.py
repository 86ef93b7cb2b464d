"""What is said of a person beside the prompt: part by part, and the colour of the marks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import history, panels
from beyondscene.addon.colours import automatic_colour
from beyondscene.addon.controls.picture import draw_controls
from beyondscene.addon.controls.snapshot import gather_controls
from beyondscene.addon.exporters import gather_request
from beyondscene.protocol.record import make_record

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def test_parts_are_kept_sent_and_restored(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    parts = blender.data.objects["Eve"].beyondscene.parts
    parts.hair, parts.feet = "long red hair", "  "
    path = str(tmp_path / "duo.blend")
    blender.ops.wm.save_as_mainfile(filepath=path, copy=True)
    blender.ops.wm.open_mainfile(filepath=path)
    request = gather_request(blender.context)
    assert [one.part_prompts for one in request.characters] == [{"hair": "long red hair"}, {}]
    parts = blender.data.objects["Eve"].beyondscene.parts
    parts.hair, parts.hands = "bald", "gloves"
    record = make_record(request, {}, "tiny", {}, "a test")
    history.restore(blender.context.scene, blender.context.view_layer, record, request)
    assert (parts.hair, parts.hands) == ("long red hair", "")


def test_parts_are_shown_where_they_are_asked_for(blender: Any, example: Example) -> None:
    example("duo")
    assert "Upper Body" not in drawn(panels.BEYONDSCENE_PT_characters)
    blender.data.objects["Eve"].beyondscene.show_parts = True
    assert drawn(panels.BEYONDSCENE_PT_characters).count("Upper Body") == 1


def test_a_person_can_have_a_seed_of_their_own(blender: Any, example: Example) -> None:
    example("duo")
    scene, layer, eve = blender.context.scene, blender.context.view_layer, blender.data.objects["Eve"]
    scene.beyondscene.seed, flo = 12, blender.data.objects["Flo"].beyondscene
    eve.beyondscene.use_own_seed = True
    scene.beyondscene.seed = 13
    request = gather_request(blender.context)
    assert (request.seed, [one.seed for one in request.characters]) == (13, [12, None])  # Eve stays as she was
    with blender.context.temp_override(beyondscene_owner=eve):
        assert blender.ops.beyondscene.draw_seed() == {"FINISHED"}
    assert eve.beyondscene.seed != 12 and drawn(panels.BEYONDSCENE_PT_characters).count("Draw Seed") == 1
    assert not blender.ops.beyondscene.draw_seed.poll()  # of nobody
    flo.use_own_seed = True
    history.restore(scene, layer, make_record(request, {}, "tiny", {}, "a test"), request)
    assert gather_request(blender.context).characters == request.characters and not flo.use_own_seed


def test_a_click_selects_the_rig_from_any_mode_and_the_joints_are_its(
    blender: Any, example: Example, capfd: pytest.CaptureFixture[str]
) -> None:
    example("duo")
    layer, eve = blender.context.view_layer, blender.data.objects["Eve"]
    assert blender.ops.beyondscene.select_person(id=eve.name_full) == {"FINISHED"}
    assert layer.objects.active == eve and [one.name for one in layer.objects if one.select_get()] == ["Eve"]
    blender.ops.object.mode_set(mode="POSE")
    assert blender.ops.beyondscene.select_person(id="Flo") == {"FINISHED"}
    assert blender.context.mode == "OBJECT" and layer.objects.active.name == "Flo" and not eve.select_get()
    blender.ops.beyondscene.select_person(id="Eve")
    blender.ops.object.mode_set(mode="POSE")
    eve.hide_viewport = True
    assert blender.ops.beyondscene.select_person(id="Flo") == {"FINISHED"}
    assert blender.context.mode == "OBJECT" and layer.objects.active.name == "Flo"
    eve.hide_viewport = False
    eve.hide_set(True)
    assert blender.ops.beyondscene.select_person(id="Eve") == {"FINISHED"} and layer.objects.active == eve
    assert "'Eve' is active, but hidden and so not selected" in capfd.readouterr().out
    blender.data.objects["Eve.body"].hide_set(True)
    with pytest.raises(RuntimeError, match="no longer in the scene, or hidden"):
        blender.ops.beyondscene.select_person(id="Eve")


def test_a_person_is_marked_in_the_colour_that_was_chosen(blender: Any, example: Example) -> None:
    example("duo")
    eve = blender.data.objects["Eve"].beyondscene
    assert tuple(eve.colour) == pytest.approx(automatic_colour("Eve"))
    eve.colour = (0, 0, 1)
    controls = gather_controls(blender.context, quick=True)
    assert controls.sight and controls.colours[0] == (0, 0, 1)
    masks = draw_controls(controls, "MASKS")
    red, green, blue = masks.reshape(-1, 3)[(masks[..., 2] > 0.3).ravel() & (masks[..., 0] == 0).ravel()].max(0)
    assert blue > 0.6 and green == red == 0
    assert np.count_nonzero(masks.any(-1))
