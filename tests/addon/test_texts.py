"""Long prompts, written in Blender's Text Editor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import history, operators, panels
from beyondscene.addon.exporters import gather_request
from beyondscene.protocol.record import make_record

from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def write_text(blender: Any, own: Any) -> Any:
    """The text that the button beside the prompt of `own` opens."""
    with blender.context.temp_override(beyondscene_owner=own.id_data):
        blender.ops.beyondscene.write_text()
    return own.prompt_text


@pytest.fixture
def texts(blender: Any, example: Example) -> tuple[Any, Any]:
    """Those of the scene duo and of Eve in it."""
    example("duo")
    settings, eve = blender.context.scene.beyondscene, blender.data.objects["Eve"].beyondscene
    settings.prompt, eve.prompt = "a quay", "a sailor"
    return write_text(blender, settings), write_text(blender, eve)


def test_a_text_begins_as_the_line_and_is_sent_in_its_place(blender: Any, texts: tuple[Any, Any], tmp_path: Path) -> None:
    quay, sailor = texts
    assert (quay.as_string(), sailor.as_string()) == ("a quay", "a sailor")
    assert (quay.name, sailor.name) == ("Prompt of duo", "Prompt of Eve")
    quay.from_string("a quay at dawn,\n\n  mist over the water\n")
    sailor.from_string("a sailor,\nin a blue coat")
    path = str(tmp_path / "duo.blend")
    blender.ops.wm.save_as_mainfile(filepath=path, copy=True)
    blender.ops.wm.open_mainfile(filepath=path)
    request = gather_request(blender.context)
    assert request.prompt == "a quay at dawn, mist over the water"
    assert request.characters[0].prompt == "a sailor, in a blue coat"
    assert operators.prompt_obstacle(blender.context) == ""


def test_a_text_is_shown_in_place_of_its_line(blender: Any, texts: tuple[Any, Any]) -> None:
    assert "Text" in drawn(panels.BEYONDSCENE_PT_main).splitlines()
    blender.data.texts.remove(texts[0])
    words = drawn(panels.BEYONDSCENE_PT_main).splitlines()
    assert "Scene" in words and "Text" not in words
    assert gather_request(blender.context).prompt == "a quay"


def test_an_empty_text_is_an_empty_prompt(blender: Any, texts: tuple[Any, Any]) -> None:
    texts[1].from_string("\n")
    assert "The prompt of 'Eve' is empty" in operators.prompt_obstacle(blender.context)


def test_the_settings_of_a_picture_leave_a_text_that_says_what_the_picture_was_told(
    blender: Any, texts: tuple[Any, Any]
) -> None:
    quay, sailor = texts
    request = gather_request(blender.context)
    sailor.from_string("a baker")
    history.restore(blender.context.scene, blender.context.view_layer, make_record(request, {}, "tiny", {}, "a test"), request)
    eve = blender.data.objects["Eve"].beyondscene
    assert blender.context.scene.beyondscene.prompt_text == quay
    assert (eve.prompt_text, eve.prompt, sailor.as_string()) == (None, "a sailor", "a baker")
