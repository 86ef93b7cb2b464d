"""A person of a linked library is described in the scene that uses it, and that stays in its file."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

import bpy
from beyondscene.addon import callbacks, overrides, panels
from beyondscene.addon.colours import automatic_colour
from beyondscene.addon.loras import gather_loras, write_loras
from beyondscene.protocol import Lora

from .drawing import drawn
from .skeletons import SKELETONS, Skeleton, build_rig


@pytest.fixture
def override(blender: Any, tmp_path: Path) -> Callable[..., Any]:
    """Links a rig from a library, of which nothing was said there beside `said`, and overrides it."""

    def make(skeleton: Skeleton = SKELETONS["unreal"], loras: Sequence[str] = (), **said: Any) -> Any:
        library, rig = str(tmp_path / "library.blend"), build_rig(blender, skeleton)
        for name, value in said.items():
            setattr(rig.beyondscene, name, value)
        for name in loras:
            rig.beyondscene.loras.add().name = name
        blender.data.libraries.write(library, {rig})
        blender.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        with blender.data.libraries.load(library, link=True) as (_, wanted):
            wanted.objects = ["Rig"]
        linked = blender.data.objects["Rig"]
        blender.context.scene.collection.objects.link(linked)
        return linked.override_create(remap_local_usages=True)

    return make


def describe(person: Any) -> None:
    person.prompt, person.negative_prompt, person.parts.hair = "a baker", "hat", "red hair"
    person.use_own_seed, person.seed = True, 7
    person.prompt_text = bpy.data.texts.new("Baker")
    person.joints.LWrist.bone, person.joints.LWrist.end = "lowerarm_l", "TAIL"
    lora = person.loras.add()
    lora.name, lora.scale = "linen", 0.5


def told(person: Any) -> tuple[Any, ...]:
    wrist = person.joints.LWrist
    loras = [(one.name, one.scale) for one in person.loras]
    text = person.prompt_text and person.prompt_text.name
    seed = person.use_own_seed and person.seed
    return person.prompt, text, person.negative_prompt, person.parts.hair, seed, wrist.bone, wrist.end, loras


@pytest.fixture
def reopen(blender: Any, tmp_path: Path) -> Callable[[], Any]:
    """Saves the file, opens it again, and returns what is said of the rig then."""

    def save_and_open() -> Any:
        path = str(tmp_path / "scene.blend")
        blender.ops.wm.save_as_mainfile(filepath=path)
        blender.ops.wm.open_mainfile(filepath=path)
        return next(one for one in blender.data.objects if one.override_library).beyondscene

    return save_and_open


@pytest.mark.parametrize("in_library", [{}, {"prompt": "a sailor"}], ids=["nothing said there", "a prompt there"])
def test_what_is_said_of_a_linked_person_is_kept(
    override: Callable[..., Any], reopen: Callable[[], Any], in_library: dict[str, str]
) -> None:
    person = override(**in_library).beyondscene
    describe(person)
    expected = told(person)
    for _ in range(2):
        assert told(reopen()) == expected


def test_an_automatic_save_which_calls_no_handlers_keeps_what_the_list_has_shown(
    override: Callable[..., Any], reopen: Callable[[], Any]
) -> None:
    person = override().beyondscene
    describe(person)
    expected = told(person)
    callbacks.remove(overrides.handlers())
    try:
        assert "Rig" in drawn(panels.BEYONDSCENE_PT_characters)
        assert told(reopen()) == expected
    finally:
        callbacks.add(overrides.handlers())


def test_a_linked_person_is_ticked_and_coloured_here(override: Callable[..., Any], reopen: Callable[[], Any]) -> None:
    person = override().beyondscene
    assert not any(person.is_property_readonly(name) for name in ("drawn", "show_parts", "colour"))
    assert person.drawn
    person.drawn, person.show_parts, person.colour = False, True, (0, 0, 1)
    person = reopen()
    assert (person.drawn, person.show_parts, tuple(person.colour)) == (False, True, (0, 0, 1))


def test_a_linked_rig_that_is_not_plainly_a_person_stays_ticked(
    override: Callable[..., Any], reopen: Callable[[], Any]
) -> None:
    person = override(SKELETONS["unreal"]._replace(names={"head": "head"})).beyondscene
    assert not person.drawn
    person.drawn = True
    assert reopen().drawn


def test_a_linked_person_of_another_name_has_the_colour_of_that_name(
    override: Callable[..., Any], reopen: Callable[[], Any]
) -> None:
    rig = override()
    rig.name = "Bo"
    person = reopen()
    assert tuple(person.colour) == pytest.approx(automatic_colour("Bo"))
    person.id_data.name = "Ida"
    assert tuple(person.colour) == pytest.approx(automatic_colour("Ida"))


def test_a_renamed_person_of_a_linked_collection_keeps_the_colour_of_that_name(
    blender: Any, reopen: Callable[[], Any], tmp_path: Path
) -> None:
    library, cast = str(tmp_path / "library.blend"), bpy.data.collections.new("Cast")
    cast.objects.link(rig := build_rig(blender, SKELETONS["unreal"]))
    rig.beyondscene.prompt = "a sailor"
    blender.data.libraries.write(library, {cast})
    blender.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = blender.context.scene
    with blender.data.libraries.load(library, link=True) as (_, wanted):
        wanted.collections = ["Cast"]
    scene.collection.children.link(bpy.data.collections["Cast"])
    bpy.data.collections["Cast"].override_hierarchy_create(scene, blender.context.view_layer)
    next(one for one in bpy.data.objects if one.override_library).name = "Bo"
    assert tuple(reopen().colour) == pytest.approx(automatic_colour("Bo"))


def test_a_person_whose_linked_rig_was_deleted_stays_in_the_list_and_in_the_file(
    override: Callable[..., Any], reopen: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rig = override()
    rig.beyondscene.loras.add().name = "linen"
    bpy.data.objects.remove(rig.override_library.reference)
    assert "Unreal 12/12" in drawn(panels.BEYONDSCENE_PT_characters)
    with suppress(StopIteration):  # it is no override any more in some Blenders
        reopen()
    assert [one.name for one in bpy.data.objects["Rig"].beyondscene.loras] == ["linen"]
    assert "Traceback" not in capsys.readouterr().err


def test_loras_of_a_library_are_switched_off_by_the_cross_and_by_restored_settings(
    blender: Any, override: Callable[..., Any], reopen: Callable[[], Any]
) -> None:
    rig = override(loras=["linen", "wool"])
    rig.beyondscene.loras.add().name = "silk"
    with blender.context.temp_override(beyondscene_owner=rig):
        assert blender.ops.beyondscene.remove_lora(index=2) == blender.ops.beyondscene.remove_lora(index=0) == {"FINISHED"}
    assert gather_loras(reopen().loras, "Rig") == (Lora(name="wool"),)
    wanted = (Lora(name="linen", scale=0.5), Lora(name="felt"))
    write_loras(next(one for one in blender.data.objects if one.override_library).beyondscene.loras, wanted)
    assert gather_loras(reopen().loras, "Rig") == wanted


def test_who_is_overridden_only_as_a_part_of_something_else_is_said_to_need_an_override(override: Callable[..., Any]) -> None:
    rig = override()
    assert "Library Override > Make" not in drawn(panels.BEYONDSCENE_PT_characters)
    rig.override_library.is_system_override = True
    assert rig.beyondscene.is_property_readonly("prompt")
    assert "Library Override > Make" in drawn(panels.BEYONDSCENE_PT_characters)
    bpy.context.view_layer.objects.active = rig
    assert not bpy.ops.beyondscene.clear_joints.poll()
    rig.select_set(True)
    assert bpy.ops.object.make_override_library() == {"FINISHED"}
    assert not rig.beyondscene.is_property_readonly("prompt")
