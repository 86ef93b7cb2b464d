"""Animations: frames as pictures, one sequence of them, whatever the scene does meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import animation, animation_operators, images, panels, session
from beyondscene.addon.frozen_settings import FrozenSettings
from beyondscene.addon.job import describe_remarks
from beyondscene.protocol import Submit

from .conftest import until
from .drawing import drawn
from .test_sight import add_box, in_front_of

Example = Callable[[str], dict[str, Any]]


def test_each_frame_of_a_range_is_a_picture_named_by_its_number(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end, scene.frame_step = 8, 12, 2
    scene.frame_set(5)
    rig = blender.data.objects["Eve"]
    for frame, x in ((8, rig.location.x), (12, rig.location.x + 0.4)):
        rig.location.x = x
        rig.keyframe_insert("location", frame=frame)
    chosen = scene.camera
    other = blender.data.objects.new("Other", chosen.data)
    scene.collection.objects.link(other)
    other.matrix_world = chosen.matrix_world
    for frame, camera in ((1, other), (12, chosen)):
        scene.timeline_markers.new("cut", frame=frame).camera = camera
    blender.context.view_layer.update()
    scene.camera = chosen  # whatever the marker says
    rig["mood"] = 1.0
    rig.keyframe_insert('["mood"]', frame=8)
    bone = rig.pose.bones["upperarm_l"]
    bone.keyframe_insert("rotation_quaternion", frame=8)
    rig.location.x, rig["mood"], bone.rotation_quaternion = 7, 0.5, (0, 1, 0, 0)  # not keyed yet
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    assert scene.camera == chosen
    assert (rig.location.x, rig["mood"], tuple(bone.rotation_quaternion)) == (7, 0.5, (0, 1, 0, 0))
    folder = tmp_path / "duo animation 0001"
    assert sorted(one.name for one in folder.iterdir()) == ["0008.png", "0010.png", "0012.png"]
    assert scene.frame_current == 5
    eves = [one.request.characters[0].keypoints[0].x for one in peer.heard if isinstance(one, Submit)]
    assert len(set(eves)) == 3
    (image,) = blender.data.images
    assert image.source == "SEQUENCE" and image.name == "BeyondScene duo animation 0001"
    assert blender.ops.beyondscene.place_picture(destination="SEQUENCER") == {"FINISHED"}
    editor = scene.sequence_editor
    (strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences
    names = [f"{number:04d}.png" for number in (8, 8, 10, 10, 12)]  # in step with the scene
    assert [one.filename for one in strip.elements] == names
    assert (strip.frame_final_start, strip.frame_final_end) == (5, 10)
    assert blender.ops.beyondscene.place_picture(destination="CAMERA_BACKGROUND") == {"FINISHED"}
    (background,) = scene.camera.data.background_images
    assert blender.ops.beyondscene.place_picture(destination="IMAGE_PLANE") == {"FINISHED"}
    corners = np.array([vertex.co for vertex in scene.objects[image.name].data.vertices])
    assert np.ptp(corners[:, 0]) == pytest.approx(np.ptp(corners[:, 1])) and np.ptp(corners[:, 0]) > 1  # as square as it is
    scene.frame_set(10)
    assert background.image_user.frame_current == 10  # the frame that is shown is that of the scene
    scene.frame_end = 5000
    assert not blender.ops.beyondscene.render_animation.poll()


def test_people_may_leave_the_frame_while_an_animation_goes_on(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene, (eve, flo) = blender.context.scene, (blender.data.objects[name] for name in ("Eve", "Flo"))
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    for rig, leaves in ((eve, 2), (flo, 3)):
        rig.keyframe_insert("location", frame=leaves - 1)
        rig.location.x = 50
        rig.keyframe_insert("location", frame=leaves)
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    names = [[who.name for who in one.request.characters] for one in peer.heard if isinstance(one, Submit)]
    assert names == [["Eve", "Flo"], ["Flo"], []]


def test_an_animation_goes_on_where_everybody_is_hidden(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    for thing in [one for one in scene.objects if one.type in ("ARMATURE", "MESH")]:
        for frame, hidden in ((1, False), (2, True), (3, False)):
            thing.hide_viewport = hidden
            thing.keyframe_insert("hide_viewport", frame=frame)
    scene.frame_set(1)
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    people = [len(one.request.characters) for one in peer.heard if isinstance(one, Submit)]
    assert people == [2, 0, 2]


def test_whoever_is_not_in_some_frames_of_an_animation_is_named_once_with_those_frames(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_peer(picture=picture, remarks=("'Flo' is not in the picture.",)).connection)
    scene, wall = blender.context.scene, add_box(blender, "Wall", (5, 0.1, 5), in_front_of(blender, "Eve"))
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 5
    for frame, hidden in ((1, True), (3, False), (4, True)):
        wall.hide_viewport = hidden
        wall.keyframe_insert("hide_viewport", frame=frame)
    assert blender.ops.beyondscene.render_animation(wait=True) == {"FINISHED"}
    told = drawn(panels.BEYONDSCENE_PT_main)
    assert "Frames 1, 2, 3 and 2 more: 'Flo' is not in the picture." in told
    assert "Frame 3: 'Eve' is left out of the picture, for others or the set hide all of this person: move" in told
    (tmp_path / "duo animation 0001" / "0003.png").unlink()
    scene.frame_end, wall.animation_data.action = 3, None
    wall.hide_viewport = True
    animation.begin(blender.context, FrozenSettings.of(blender.context), tmp_path / "duo animation 0001", ".png", [3])
    animation_operators.go_on(wait=True)
    told = drawn(panels.BEYONDSCENE_PT_main)
    assert "'Flo'" in told and "'Eve'" not in told  # the third frame is another by now
    assert describe_remarks({1: (*"abcdef",)})[2:] == ("Frame 1: c", "And 3 other remarks")


def test_an_animation_may_have_more_frames_than_the_backend_lets_wait(
    blender: Any, example: Example, start_gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_gateway(waiting_jobs=2).connection())
    scene, state = blender.context.scene, session.current()
    own = scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 999
    own.use_own_size, own.width, own.height = True, 64, 64
    scene.frame_start, scene.frame_end = 1, 5
    assert blender.ops.beyondscene.render() == {"FINISHED"}
    until(lambda: state.job and state.job.running)
    own.knobs.steps = 1
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    while animation.turn() is not None:
        pass
    first, *others = state.jobs.values()
    assert [one.sent for one in others] == [True, False, False, False, False]
    state.cancel(first.id)
    until(lambda: not state.jobs)
    assert len(list((tmp_path / "duo animation 0001").iterdir())) == 5 and not state.error


def test_what_was_finished_of_an_animation_that_is_cancelled_is_listed(
    blender: Any, example: Example, gateway: Any, use_backend: Any, tmp_path: Path
) -> None:
    example("duo")
    use_backend(gateway.connection())
    scene, state = blender.context.scene, session.current()
    own = scene.beyondscene
    own.output_folder, own.quality, own.knobs.steps = str(tmp_path), "CUSTOM", 150
    own.use_own_size, own.width, own.height = True, 64, 64
    scene.frame_start, scene.frame_end = 1, 3
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    while animation.turn() is not None:
        pass
    until(lambda: len(state.jobs) == 2)
    assert not images.finished_pictures()
    assert blender.ops.beyondscene.cancel() == {"FINISHED"}
    until(lambda: not state.jobs)
    assert blender.data.images.keys() == ["BeyondScene duo animation 0001"] and not state.error


def test_an_animation_goes_on_while_the_windows_show_another_scene(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    scene = blender.context.scene
    scene.beyondscene.output_folder = str(tmp_path)
    scene.frame_start, scene.frame_end = 1, 3
    rig = blender.data.objects["Eve"]
    for frame in (1, 3):
        rig.location.x += 0.1 * frame
        rig.keyframe_insert("location", frame=frame)
    other = blender.data.scenes.new("Other")
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    blender.context.window.scene = other
    assert "Cancel All" in drawn(panels.BEYONDSCENE_PT_main)  # before the first frame is sent
    while animation.turn() is not None:
        assert blender.context.scene == other
    until(lambda: not session.current().jobs)
    eves = [one.request.characters[0].keypoints[0].x for one in peer.heard if isinstance(one, Submit)]
    assert len(set(eves)) == 3 and not session.current().error
    blender.context.window.scene = scene
    assert blender.ops.beyondscene.render_animation() == {"FINISHED"}
    example("duo")
    animation.turn()
    assert "The scene was closed" in session.current().error
