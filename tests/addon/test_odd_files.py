"""Files that are not as one expects: never saved, linked from another, with a rig that is half there."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import images, panels, session
from beyondscene.addon.destinations import DestinationError, put
from beyondscene.addon.exporters import ExportError, export_request
from beyondscene.backend.blend import go_to, open_blend, tell_otherwise

from .conftest import EXAMPLES, until
from .drawing import drawn
from .skeletons import SKELETONS, build_rig

Example = Callable[[str], dict[str, Any]]


def test_a_scene_that_was_never_saved_has_its_pictures_where_the_panel_says(
    blender: Any, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    use_backend(start_peer(picture=picture).connection)
    scene = blender.context.scene
    scene.camera = blender.data.objects.new("Camera", blender.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    scene.camera.location, scene.camera.rotation_euler = (0, -6, 1), (1.5708, 0, 0)
    rig = build_rig(blender, SKELETONS["unreal"])
    rig.beyondscene.prompt, scene.beyondscene.prompt = "a sailor", "a quay"
    blender.context.view_layer.update()
    assert not blender.data.filepath and scene.beyondscene.output_folder == "//renders/"
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    until(lambda: not session.current().jobs)
    place = tmp_path / "kept" / "renders"
    assert (place / "untitled 0001.png").read_bytes() == picture
    assert f"Pictures go to {place}" in drawn(panels.BEYONDSCENE_PT_picture)
    scene.beyondscene.output_folder = "renders"
    assert f"Pictures go to {Path.cwd() / 'renders'}" in drawn(panels.BEYONDSCENE_PT_picture)
    scene.beyondscene.output_folder = str(tmp_path)
    assert "Pictures go to" not in drawn(panels.BEYONDSCENE_PT_picture)


def test_a_name_too_long_for_the_picture_is_noticed_before_anything_is_sent(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer()
    use_backend(peer.connection)
    blender.context.scene.beyondscene.output_folder = str(tmp_path / "renders")
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / f"{'duo' * 81}.blend"))
    for render in (blender.ops.beyondscene.render, blender.ops.beyondscene.render_animation):
        with pytest.raises(RuntimeError, match=r"would be too long: choose a shorter one for the folder or the \.blend"):
            render()
    assert not peer.heard and not [*(tmp_path / "renders").iterdir()]


def test_what_an_artist_keeps_is_not_where_an_uninstall_deletes(registered: Any) -> None:
    assert not images.kept_folder().is_relative_to(registered.utils.user_resource("EXTENSIONS"))


def test_a_folder_is_the_same_from_wherever_blender_is_started(
    blender: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert images.output_place("~/pictures") == tmp_path / "pictures"
    assert images.output_place("pictures") == tmp_path / "pictures"
    assert images.output_place("~nobody at all") == tmp_path / "~nobody at all"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_path_that_is_not_utf_8_is_refused_in_a_sentence(blender: Any, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    blend = str(shutil.copy(EXAMPLES / "duo.blend", folder))
    blender.ops.wm.open_mainfile(filepath=blend)
    for operator in (blender.ops.beyondscene.render, blender.ops.beyondscene.render_animation):
        for place in ("//renders/", str(tmp_path)):
            blender.context.scene.beyondscene.output_folder = place
            with pytest.raises(RuntimeError, match=f"of the folder '{place}' or of the .blend has a name that is not UTF-8"):
                operator(wait=True)
    assert "is not UTF-8: rename that" in drawn(panels.BEYONDSCENE_PT_main)


def test_a_folder_beside_the_blend_is_taken_without_a_warning(blender: Any) -> None:
    own = blender.context.scene.beyondscene
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.output_folder = "//pictures/"
    if blender.app.version >= (4, 5, 0):  # else the field is red
        assert own.bl_rna.properties["output_folder"].is_path_supports_blend_relative


def test_a_scene_of_another_file_is_rendered_as_it_is_there(blender: Any) -> None:
    with blender.data.libraries.load(str(EXAMPLES / "duo.blend"), link=True) as (there, here):
        here.scenes = there.scenes
    scene = blender.data.scenes["duo"]
    assert scene.library and not scene.is_editable
    blender.context.window.scene = scene
    request, arrays = export_request(blender.context)
    assert [one.name for one in request.characters] == ["Eve", "Flo"] and len(arrays) == 2
    assert blender.ops.beyondscene.render.poll()
    (image := blender.data.images.new("BeyondScene duo 0001", 64, 64)).pack()
    assert images.is_ours(image) and not blender.ops.beyondscene.restore_settings.poll()  # which would not be kept
    with blender.context.temp_override(beyondscene_owner=blender.data.objects["Eve"]):
        assert not blender.ops.beyondscene.add_lora.poll()  # what is linked cannot be changed here
        with pytest.raises(RuntimeError, match="'Eve' is linked from another file: make a library override of it first"):
            blender.ops.beyondscene.write_text()


def test_a_file_is_read_at_the_view_layer_that_its_window_shows(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    scene = blender.context.scene
    blender.context.window.view_layer = scene.view_layers.new("People")
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "layers.blend"))
    blender.context.window.view_layer = scene.view_layers[0]
    open_blend(tmp_path / "layers.blend", None)
    assert blender.context.view_layer.name == "People"


@pytest.mark.parametrize("name", ["Eve", "Eve.body"])
def test_a_file_that_was_saved_in_edit_mode_is_read_in_its_pose(
    blender: Any, example: Example, tmp_path: Path, name: str
) -> None:
    example("duo")
    expected, _ = export_request(blender.context, width=96, height=96)
    blender.context.view_layer.objects.active = blender.data.objects[name]
    blender.ops.object.mode_set(mode="EDIT")
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "edited.blend"))
    open_blend(tmp_path / "edited.blend", None)
    assert export_request(blender.context, width=96, height=96)[0] == expected


def test_what_a_library_no_longer_has_and_drivers_that_may_not_run_are_told(
    blender: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Path(shutil.copy(EXAMPLES / "duo.blend", tmp_path / "people.blend"))
    with blender.data.libraries.load(str(library), link=True) as (_, here):
        here.objects = ["Eve"]
    blender.context.scene.collection.objects.link(blender.data.objects["Eve"])
    (door := blender.data.objects.new("Door", None)).driver_add("location", 2).driver.expression = "len(str(3))"
    blender.context.scene.collection.objects.link(door)
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    for path in (library, None):
        capsys.readouterr()
        open_blend(tmp_path / "shot.blend", None)
        blender.context.view_layer.update()
        tell_otherwise()
        told = capsys.readouterr().err
        assert (f"Not as saved: 'Eve', linked from {library}, cannot be found" in told) == (path is None)
        assert "Not as saved: Driver 'len(str(3))' was not evaluated" in told
        library.unlink(missing_ok=True)


@pytest.mark.parametrize("destination", ["IMAGE_PLANE", "WORLD", "COMPOSITOR", "SEQUENCER"])
def test_a_picture_is_put_nowhere_in_a_scene_of_another_file_which_would_not_keep_it(blender: Any, destination: str) -> None:
    with blender.data.libraries.load(str(EXAMPLES / "duo.blend"), link=True) as (there, here):
        here.scenes = there.scenes
    blender.context.window.scene = blender.data.scenes["duo"]
    (image := blender.data.images.new("BeyondScene duo 0001", 64, 64)).pack()
    image.filepath = str(EXAMPLES / "duo.blend")  # a strip wants a file
    before = {kind: len(getattr(blender.data, kind)) for kind in ("objects", "meshes", "worlds", "node_groups")}
    with pytest.raises(DestinationError, match="'duo' is linked from another file, so what is added to it here is not kept"):
        put(blender.context, image, destination)
    assert before == {kind: len(getattr(blender.data, kind)) for kind in before}


@pytest.mark.parametrize("destination", ["CAMERA_BACKGROUND", "IMAGE_PLANE", "WORLD"])
@pytest.mark.parametrize("turn", [0.0, 0.5])
def test_a_camera_that_looks_nowhere_shows_no_picture(blender: Any, example: Example, destination: str, turn: float) -> None:
    example("duo")
    scene, dolly = blender.context.scene, blender.data.objects.new("Dolly", None)
    scene.collection.objects.link(dolly)
    scene.camera.parent, dolly.scale, dolly.rotation_euler = dolly, (1, 1, 0), (turn, turn, turn)
    blender.context.view_layer.update()
    image = blender.data.images.new("BeyondScene duo 0001", 64, 64)
    with pytest.raises(DestinationError, match="'Camera' has a scale of 0, its own or of what it hangs on"):
        put(blender.context, image, destination)


def test_a_camera_that_is_hidden_is_where_it_is_at_the_first_frame_that_is_seen_through_it(
    blender: Any, example: Example, tmp_path: Path
) -> None:
    example("duo")
    scene, crane = blender.context.scene, blender.data.objects.new("Crane", blender.data.cameras.new("Crane"))
    scene.collection.objects.link(crane)
    crane.hide_viewport = True
    for frame, height in ((1, 4), (9, 2)):
        crane.location.z = height
        crane.keyframe_insert("location", frame=frame)
    scene.frame_set(9)
    blender.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    open_blend(tmp_path / "shot.blend", None)
    go_to(1, "Crane")
    camera = blender.context.scene.camera.evaluated_get(blender.context.evaluated_depsgraph_get())
    assert (camera.name, camera.matrix_world.translation.z) == ("Crane", 4)


def test_half_a_rig_says_how_much_was_found_and_what_to_do(blender: Any, example: Example) -> None:
    example("duo")
    for rig in ("Eve", "Flo"):
        blender.data.objects[rig].beyondscene.enabled = False
    whole = SKELETONS["mixamo"]
    right_side_only = {part: name.replace("{side}", "Right") for part, name in whole.names.items() if part not in ("hips",)}
    rig = build_rig(blender, whole._replace(names=right_side_only))
    rig.beyondscene.prompt = "a sailor"
    blender.context.view_layer.update()
    request, _ = export_request(blender.context)  # seven of thirteen: enough, and the rest is said to be missing
    states = {keypoint.state for keypoint in request.characters[0].keypoints}
    assert "missing" in states and len(states) > 1
    for name in ("RightArm", "RightUpLeg"):
        rig.data.bones[f"mixamorig:{name}"].name = name[::-1]
    with pytest.raises(ExportError, match=r"covers 38%.*name its joints in the panel under Joints, or switch it off"):
        export_request(blender.context)
