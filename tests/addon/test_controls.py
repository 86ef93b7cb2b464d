"""What the artist is shown before a render: as a picture, and what the overlay knows and forgets."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.controls import overlay
from beyondscene.addon.controls.picture import draw_controls
from beyondscene.addon.controls.snapshot import Controls, describe, gather_controls
from beyondscene.addon.controls.strokes import gather_strokes, line_width_px
from beyondscene.protocol import DRAWN, KEYPOINT_COLOURS, KEYPOINT_NAMES

from .test_exporters import snapshot
from .test_sight import add_box, in_front_of, overlap

Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def shown(blender: Any) -> Iterator[Any]:
    """The overlay, switched on."""
    blender.context.window_manager.beyondscene_controls.overlay = True
    yield overlay.current()
    blender.context.window_manager.beyondscene_controls.overlay = False
    if blender.app.timers.is_registered(overlay.follow):
        blender.app.timers.unregister(overlay.follow)
    overlay.current().__init__()


def at(picture: np.ndarray, controls: Controls, person: str, joint: str) -> np.ndarray:
    """The colour of the drawing at a joint, 0 to 255."""
    character = next(one for one in controls.request.characters if one.name == person)
    keypoint = character.keypoints[KEYPOINT_NAMES.index(joint)]
    return picture[int(keypoint.y), int(keypoint.x)] * 255


def test_the_skeletons_are_those_that_the_backend_draws(blender: Any, example: Example) -> None:
    pytest.importorskip("cv2")
    from beyondscene.backend.pose import draw_pose

    example("plaza")
    controls = gather_controls(blender.context, quick=True)
    request = controls.request
    people = [[(joint.x, joint.y, 1) for joint in character.keypoints] for _, character in controls.far_to_near()]
    theirs = draw_pose([np.array(one) for one in people], request.width, request.height, round(line_width_px(request)))
    ours = draw_controls(controls, "POSE") * 255
    assert theirs.any() and ours.shape == theirs.shape
    blocks = np.abs(ours - theirs).reshape(128, 8, 192, 8, 3).mean((1, 3))  # a rim may be a quarter of a pixel wider
    assert blocks.max() < 16


def test_one_click_makes_an_image_of_them_and_changes_nothing_else(blender: Any, example: Example) -> None:
    example("duo")
    before = snapshot(blender)[0]
    blender.context.window_manager.beyondscene_controls.kind = "MASKS"
    assert blender.ops.beyondscene.preview_controls() == {"FINISHED"}
    image = blender.data.images["BeyondScene: Controls"]
    assert tuple(image.size) == (1024, 1024)
    pixels = np.empty(1024 * 1024 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    shown = pixels.reshape(1024, 1024, 4)[::-1]
    expected = draw_controls(gather_controls(blender.context), "MASKS")
    np.testing.assert_allclose(shown[..., :3], expected, atol=1 / 255)
    assert (shown[..., 3] == 1).all()
    blender.context.scene.render.resolution_x = 768
    blender.context.window_manager.beyondscene_controls.kind = "ALL"
    blender.ops.beyondscene.preview_controls()
    assert tuple(image.size) == (768, 1024) and len(blender.data.images) == 1
    assert snapshot(blender)[0] == before


def test_hidden_joints_are_rings_and_the_nearer_mask_is_the_brighter(blender: Any, example: Example) -> None:
    example("duo")
    overlap(blender)  # Flo is nearer, and hides Eve's elbow
    controls = gather_controls(blender.context)
    eve = controls.request.characters[0]
    elbow = KEYPOINT_NAMES.index("LElbow")
    assert eve.keypoints[elbow].state == "occluded" and eve.keypoints[elbow].hidden_by == "character"
    assert [one.name for _, one in controls.far_to_near()] == ["Eve", "Flo"]
    together = draw_controls(controls, "ALL")
    neck = KEYPOINT_COLOURS[KEYPOINT_NAMES.index("Neck")]
    np.testing.assert_allclose(at(together, controls, "Eve", "Neck"), neck, atol=1)
    assert np.abs(at(together, controls, "Eve", "LElbow") - KEYPOINT_COLOURS[elbow]).max() > 60
    masks = draw_controls(controls, "MASKS")
    assert controls.sight
    np.testing.assert_allclose(masks.max(-1)[controls.sight.owner == 1].min(), 1, atol=1e-6)
    assert masks.max(-1)[controls.sight.owner == 0].max() < 0.9
    assert np.count_nonzero(masks.any(-1)) == np.count_nonzero(controls.sight.owner >= 0)
    assert controls.colours[0] != controls.colours[1]
    assert "hidden by others" in describe(eve) and "seen" in describe(eve)


def test_depth_is_brightest_where_it_is_nearest(blender: Any, example: Example) -> None:
    example("plaza")
    controls = gather_controls(blender.context, quick=True)
    picture = draw_controls(controls, "DEPTH")
    assert picture.shape == (1024, 1536, 3) and picture.max() == 1
    centres = [picture[int(one.keypoints[1].y), int(one.keypoints[1].x), 0] for _, one in controls.far_to_near()]
    assert centres == sorted(centres) and centres[0] < centres[-1]


def test_what_is_behind_the_camera_is_never_drawn(blender: Any, example: Example) -> None:
    example("duo")
    camera = blender.context.scene.camera
    flo_rig = blender.data.objects["Flo"]
    flo_rig.location = (0, camera.location.y + 0.3, -0.4)  # her trailing foot is behind it
    blender.context.view_layer.update()
    controls = gather_controls(blender.context, surfaces=False)
    flo = controls.request.characters[1]
    assert "behind" in {joint.state for joint in flo.keypoints}
    strokes = list(gather_strokes(controls.request, flo))
    assert sum(stroke.is_joint for stroke in strokes) == sum(joint.state in DRAWN for joint in flo.keypoints)
    flo_rig.location = (0, -50, -0.4)
    blender.context.view_layer.update()
    controls = gather_controls(blender.context)
    assert "'Flo' has no joint in front of the camera" in controls.refusal
    assert [one.name for _, one in controls.far_to_near()] == ["Eve"]
    assert draw_controls(controls, "ALL").any()


def test_somebody_wholly_hidden_is_not_in_the_picture(blender: Any, example: Example) -> None:
    example("duo")
    add_box(blender, "Wall", (5, 0.1, 5), in_front_of(blender, "Eve"))
    assert "Eve" not in {one.name for _, one in gather_controls(blender.context).far_to_near()}


def test_a_large_picture_is_drawn_small(blender: Any, example: Example) -> None:
    example("duo")
    own = blender.context.scene.beyondscene
    own.use_own_size, own.width, own.height = True, 8192, 4096
    assert draw_controls(gather_controls(blender.context, surfaces=False), "ALL").shape == (1024, 2048, 3)


def test_without_a_camera_the_button_says_why(blender: Any, example: Example) -> None:
    example("duo")
    blender.context.scene.camera = None
    with pytest.raises(RuntimeError, match="has no camera"):
        blender.ops.beyondscene.preview_controls()


def test_what_stops_a_render_is_told_but_does_not_stop_the_look(blender: Any, example: Example) -> None:
    example("duo")
    blender.data.objects["Eve"].beyondscene.prompt = ""
    controls = gather_controls(blender.context, quick=True)
    assert "prompt of 'Eve' is empty" in controls.refusal and len(controls.far_to_near()) == 2
    assert blender.ops.beyondscene.preview_controls() == {"FINISHED"}


def test_the_overlay_takes_the_joints_at_once_and_the_surfaces_when_the_scene_rests(
    blender: Any, example: Example, shown: Any
) -> None:
    example("duo")
    blender.context.window_manager.beyondscene_controls.overlay = True  # another file has another window manager
    assert blender.app.timers.is_registered(overlay.follow)
    assert overlay.follow() == overlay.FOLLOW_S
    assert shown.controls and shown.controls.sight is None
    first = shown.controls.request.characters[0].keypoints[0].x
    shown.changed_s -= 1
    assert overlay.follow() is None
    assert shown.controls.sight is not None

    blender.data.objects["Eve"].location.x += 0.1
    blender.context.view_layer.update()  # an edit, of which Blender tells
    overlay.follow()
    assert shown.controls.sight is None and shown.controls.request.characters[0].keypoints[0].x > first + 5

    shown.slow_s, shown.changed_s = 3.0, 0.0
    assert overlay.follow() is None
    assert shown.controls.sight is None  # too slow to be done unasked
    assert blender.ops.beyondscene.refresh_controls() == {"FINISHED"}
    assert shown.controls.sight is not None


def test_the_overlay_says_what_is_missing_and_rests_when_off(blender: Any, example: Example, shown: Any) -> None:
    example("duo")
    blender.context.window_manager.beyondscene_controls.overlay = True
    for name in ("Eve", "Flo"):
        blender.data.objects[name].beyondscene.enabled = False
    overlay.follow()
    assert shown.controls is None and "no armature" in shown.error
    blender.context.window_manager.beyondscene_controls.overlay = False
    assert overlay.follow() is None
