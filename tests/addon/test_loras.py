"""LoRAs: listed in the panel, kept in the .blend, sent with the request, and back from a picture's record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import history, panels, session
from beyondscene.addon.exporters import ExportError, gather_request
from beyondscene.addon.loras import LIMIT, known_loras
from beyondscene.protocol import Lora, ModelSetInfo, Welcome
from beyondscene.protocol.record import make_record
from msgspec.structs import replace

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def name_some(blender: Any) -> None:
    """A style for the scene, a likeness for Eve, and a row that was never filled in."""
    assert blender.ops.beyondscene.add_lora() == {"FINISHED"}
    style = blender.context.scene.beyondscene.loras[0]
    style.name, style.scale = "claymation", 0.8
    with blender.context.temp_override(beyondscene_owner=blender.data.objects["Eve"]):
        for _ in range(2):
            assert blender.ops.beyondscene.add_lora() == {"FINISHED"}
    blender.data.objects["Eve"].beyondscene.loras[0].name = "eve v2"


def test_they_are_kept_in_the_file_and_sent(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    name_some(blender)
    path = str(tmp_path / "duo.blend")
    blender.ops.wm.save_as_mainfile(filepath=path, copy=True)
    blender.ops.wm.read_homefile(use_factory_startup=True)
    blender.ops.wm.open_mainfile(filepath=path)
    request = gather_request(blender.context)
    assert request.loras == (Lora(name="claymation", scale=0.8),)
    assert [one.loras for one in request.characters] == [(Lora(name="eve v2"),), ()]


def test_a_row_can_be_taken_away_and_there_is_room_for_eight(blender: Any, example: Example) -> None:
    example("duo")
    name_some(blender)
    with blender.context.temp_override(beyondscene_owner=blender.data.objects["Eve"]):
        assert blender.ops.beyondscene.remove_lora(index=0) == {"FINISHED"}
    assert gather_request(blender.context).characters[0].loras == ()
    for _ in range(LIMIT - 1):
        blender.ops.beyondscene.add_lora()
    with pytest.raises(RuntimeError, match="remove one first"):
        blender.ops.beyondscene.add_lora()


def test_a_path_is_no_name(blender: Any, example: Example) -> None:
    example("duo")
    name_some(blender)
    blender.data.objects["Eve"].beyondscene.loras[0].name = "../secret"
    with pytest.raises(ExportError, match=r"LoRA '\.\./secret' of 'Eve' cannot be the name"):
        gather_request(blender.context)


def test_an_instance_has_its_own_or_those_of_its_rig(blender: Any, example: Example) -> None:
    example("duo")
    name_some(blender)
    inside = blender.data.collections.new("Inside")
    eve = blender.data.objects["Eve"]
    inside.objects.link(eve)
    twin = blender.data.objects.new("Twin", None)
    twin.instance_type, twin.instance_collection = "COLLECTION", inside
    blender.context.scene.collection.objects.link(twin)
    blender.context.view_layer.update()
    of_twin = next(one for one in gather_request(blender.context).characters if one.name == "Twin")
    assert of_twin.loras == (Lora(name="eve v2"),)
    twin.beyondscene.loras.add().name = "twin"
    of_twin = next(one for one in gather_request(blender.context).characters if one.name == "Twin")
    assert of_twin.loras == (Lora(name="twin"),)


def test_they_come_back_with_the_settings_of_a_picture(blender: Any, example: Example) -> None:
    example("duo")
    name_some(blender)
    request = gather_request(blender.context)
    scene, eve = blender.context.scene, blender.data.objects["Eve"]
    scene.beyondscene.loras.clear()
    eve.beyondscene.loras[0].name = "somebody else"
    history.restore(scene, blender.context.view_layer, make_record(request, {}, "tiny", {}, "a test"), request)
    assert [(row.name, round(row.scale, 6)) for row in scene.beyondscene.loras] == [("claymation", 0.8)]
    assert [row.name for row in eve.beyondscene.loras] == ["eve v2"]


def test_those_of_the_backend_are_offered_and_another_is_marked(blender: Any, example: Example) -> None:
    example("duo")
    name_some(blender)
    assert known_loras(blender.context.scene) == []
    info = ModelSetInfo(name="embedded", training_resolution_px=256, loras=("claymation", "ink"))
    other = replace(info, name="other", loras=("other",))
    session.current().welcome = Welcome(version=1, app_version="0", boot_id="b", models=(info, other))
    assert known_loras(blender.context.scene) == ["claymation", "ink"]
    assert "Add LoRA" in drawn(panels.BEYONDSCENE_PT_picture)
    assert drawn(panels.BEYONDSCENE_PT_characters).count("LoRA") >= 4  # two rows and two buttons
