"""What the artist is shown before a render: as a picture, and what the overlay knows and forgets."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import blender_render, session
from beyondscene.addon.controls import overlay
from beyondscene.addon.controls.panel import BEYONDSCENE_PT_controls
from beyondscene.addon.controls.picture import draw_controls
from beyondscene.addon.controls.snapshot import Controls, describe, gather_controls
from beyondscene.addon.controls.strokes import Style, gather_strokes, line_width_px
from beyondscene.protocol import DRAWN, KEYPOINT_COLOURS, KEYPOINT_NAMES, LIMB_BRIGHTNESS, ModelSetInfo, Welcome
from msgspec.structs import replace

from .drawing import drawn
from .test_exporters import snapshot
from .test_sight import add_box, in_front_of, overlap

Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def shown(blender: Any, example: Example) -> Iterator[overlay.Overlay]:
    """The overlay of an example, switched on."""
    example("duo")
    blender.context.window_manager.beyondscene_controls.overlay = True
    yield overlay.overlay_of(blender.context.scene, blender.context.view_layer)
    blender.context.window_manager.beyondscene_controls.overlay = False
    if blender.app.timers.is_registered(overlay.follow):
        blender.app.timers.unregister(overlay.follow)


def at(picture: np.ndarray, controls: Controls, person: str, joint: str) -> np.ndarray:
    """The colour of the drawing at a joint, 0 to 255."""
    character = next(one for one in controls.request.characters if one.name == person)
    keypoint = character.keypoints[KEYPOINT_NAMES.index(joint)]
    return picture[int(keypoint.y), int(keypoint.x)] * 255


def backends_drawing(controls: Controls) -> np.ndarray:
    """uint8 (height, width, 3): the skeletons as the ControlNet is shown them at the size of the picture."""
    pytest.importorskip("cv2")
    from beyondscene.backend.planning.people import gather_people
    from beyondscene.backend.pose import draw_pose

    request, style = controls.request, controls.style
    seen = replace(request, characters=tuple(one for _, one in controls.far_to_near()))
    models = ModelSetInfo(
        name="any", training_resolution_px=256, pose_hands=style.hands, pose_face=style.face, pose_feet=style.feet
    )
    people = [one.among_others(request.settings.hidden_joints) for one in gather_people(seen, models)]
    return draw_pose(people, request.width, request.height, round(line_width_px(request, style)))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Of two drawings, 0 to 255, the mean in the worst block of 8x8 px: a rim may be a quarter of a pixel wider."""
    height, width = one.shape[:2]
    return float(np.abs(one - other).reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3)).max())


def test_the_skeletons_are_those_that_the_backend_draws(blender: Any, example: Example) -> None:
    example("plaza")
    controls = gather_controls(blender.context, quick=True)
    theirs = backends_drawing(controls)
    assert theirs.any() and controls.style == Style()
    assert difference(draw_controls(controls, "POSE") * 255, theirs) < 16


def test_limbs_that_come_from_far_away_are_drawn_as_the_backend_draws_them(blender: Any, example: Example) -> None:
    example("duo")
    controls = gather_controls(blender.context, quick=True)
    eve, *others = controls.request.characters
    wrist = KEYPOINT_NAMES.index("RWrist")
    joints = list(eve.keypoints)
    joints[wrist] = replace(joints[wrist], x=-20_000.0)
    request = replace(controls.request, characters=(replace(eve, keypoints=tuple(joints)), *others))
    controls = dataclasses.replace(controls, request=request)
    assert difference(draw_controls(controls, "POSE") * 255, backends_drawing(controls)) < 16


@pytest.mark.parametrize("hidden_joints", ["keep", "dim", "drop"])
def test_joints_that_others_hide_are_drawn_as_asked_and_as_the_backend_draws_them(
    blender: Any, example: Example, hidden_joints: str
) -> None:
    example("duo")
    overlap(blender)  # Flo hides Eve's elbow
    own = blender.context.scene.beyondscene
    own.quality, own.knobs.hidden_joints = "CUSTOM", hidden_joints
    controls = gather_controls(blender.context)
    eve = controls.request.characters[0]
    hidden = [joint for joint in eve.keypoints if joint.hidden_by in ("character", "own_head")]
    strokes = list(gather_strokes(controls.request, eve, controls.style))
    dark = [stroke for stroke in strokes if stroke.is_joint and max(stroke.colour) < 0.9]
    joints = sum(stroke.is_joint for stroke in strokes)
    expected = {"keep": (18, 0), "dim": (18, len(hidden)), "drop": (18 - len(hidden), 0)}
    assert hidden and (joints, len(dark)) == expected[hidden_joints]
    assert difference(draw_controls(controls, "POSE") * 255, backends_drawing(controls)) < 16


def test_with_a_backdrop_joints_behind_the_set_are_left_out_as_the_backend_does(blender: Any, example: Example) -> None:
    example("duo")
    x, y, z = in_front_of(blender, "Eve")
    add_box(blender, "Wall", (5, 0.1, 0.5), (x, y, z - 0.6))
    own = blender.context.scene.beyondscene
    own.quality, own.knobs.hidden_joints = "CUSTOM", "keep"
    for image in (None, blender.data.images.new("place", 8, 8)):
        own.backdrop = image
        controls = gather_controls(blender.context)
        eve = controls.request.characters[0]
        behind = sum(joint.hidden_by == "prop" for joint in eve.keypoints)
        joints = sum(stroke.is_joint for stroke in gather_strokes(controls.request, eve, controls.style))
        assert 0 < behind < 18 and joints == (18 - behind if image else 18)
        assert difference(draw_controls(controls, "POSE") * 255, backends_drawing(controls)) < 16


def test_lines_hands_faces_and_feet_are_those_of_the_chosen_models(blender: Any, example: Example) -> None:
    example("duo")
    info = ModelSetInfo(
        name="own", training_resolution_px=512, pose_line_width_px=8, pose_hands=True, pose_face=True, pose_feet=True
    )
    session.current().welcome = Welcome(version=1, app_version="0.1.0", boot_id="a", models=(info,))
    try:
        blender.context.scene.beyondscene.models = "own"
        controls = gather_controls(blender.context)
    finally:
        session.current().welcome = None
    assert controls.style == Style(8 / 512, True, True, True, "keep")
    assert difference(draw_controls(controls, "POSE") * 255, backends_drawing(controls)) < 16
    plain = dataclasses.replace(controls, style=Style(8 / 512))
    assert difference(draw_controls(controls, "POSE") * 255, draw_controls(plain, "POSE") * 255) > 60


def test_the_nearer_person_is_drawn_over_the_farther_one(blender: Any, example: Example) -> None:
    example("duo")
    for near, far in (("Flo", "Eve"), ("Eve", "Flo")):
        blender.data.objects[near].location = (0, -1.0, 0)
        blender.data.objects[far].location = (0, 0.5, 0)
        blender.context.view_layer.update()
        controls = gather_controls(blender.context, surfaces=False)
        assert [one.name for _, one in controls.far_to_near()] == [far, near]
        picture = draw_controls(controls, "POSE")
        assert difference(picture * 255, backends_drawing(controls)) < 16
        blender.data.objects[near].beyondscene.enabled = False
        behind = draw_controls(gather_controls(blender.context, surfaces=False), "POSE")
        blender.data.objects[near].beyondscene.enabled, blender.data.objects[far].beyondscene.enabled = True, False
        before = draw_controls(gather_controls(blender.context, surfaces=False), "POSE")
        blender.data.objects[far].beyondscene.enabled = True
        inside = before.max(-1) > LIMB_BRIGHTNESS - 0.02
        assert (behind.max(-1) > 0.5)[inside].sum() > 1000
        assert np.isclose(picture[inside], before[inside], atol=0.02).mean() > 0.995  # the rims of discs let something through


def test_one_click_makes_an_image_of_them_and_changes_nothing_else(blender: Any, example: Example) -> None:
    example("duo")
    before = snapshot(blender)[0]
    blender.context.window_manager.beyondscene_controls.kind = "MASKS"
    assert blender.ops.beyondscene.preview_controls() == {"FINISHED"}
    image = blender.data.images["BeyondScene: Controls"]
    assert tuple(image.size) == (1024, 1024) and not image.is_dirty  # so that Blender asks nothing when it is closed
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


def test_poses_are_saved_for_other_programs(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    images = len(blender.data.images)
    assert blender.ops.beyondscene.save_openpose(filepath=str(tmp_path / "poses.json"), model="BODY_25") == {"FINISHED"}
    poses = json.loads((tmp_path / "poses.json").read_bytes())
    assert [len(one["pose_keypoints_2d"]) for one in poses["people"]] == [75, 75]
    assert (poses["canvas_width"], poses["canvas_height"]) == (1024, 1024)
    saved = blender.data.images.load(str(tmp_path / "poses.openpose.png"))
    pixels = np.empty(1024 * 1024 * 4, np.float32)
    saved.pixels.foreach_get(pixels)
    expected = draw_controls(gather_controls(blender.context), "POSE")
    np.testing.assert_allclose(pixels.reshape(1024, 1024, 4)[::-1, :, :3], expected, atol=1 / 255)
    blender.data.images.remove(saved)
    assert len(blender.data.images) == images
    with pytest.raises(RuntimeError, match="Choose another folder"):
        blender.ops.beyondscene.save_openpose(filepath=str(tmp_path / "nowhere" / "poses.json"))


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
    strokes = list(gather_strokes(controls.request, flo, controls.style))
    assert sum(stroke.is_joint for stroke in strokes) == sum(joint.state in DRAWN for joint in flo.keypoints)
    flo_rig.location = (0, -50, -0.4)
    blender.context.view_layer.update()
    controls = gather_controls(blender.context)
    assert controls.left_out == ("Flo has no joint in front of the camera",) and not controls.refusal
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


def test_the_overlay_takes_the_joints_at_once_and_the_surfaces_when_the_scene_rests(blender: Any, shown: Any) -> None:
    assert blender.app.timers.is_registered(overlay.follow)
    assert overlay.follow() == overlay.FOLLOW_S
    assert shown.controls and shown.controls.sight is None
    first = shown.controls.request.characters[0].keypoints[0].x
    overlay.changed_s -= 1
    assert overlay.follow() is None
    assert shown.controls.sight is not None

    blender.data.objects["Eve"].location.x += 0.1
    blender.context.view_layer.update()  # an edit, of which Blender tells
    overlay.follow()
    assert shown.controls.sight is None and shown.controls.request.characters[0].keypoints[0].x > first + 5

    shown.slow_s, overlay.changed_s = 3.0, 0.0
    assert overlay.follow() is None
    assert shown.controls.sight is None  # too slow to be done unasked
    assert blender.ops.beyondscene.refresh_controls() == {"FINISHED"}
    assert shown.controls.sight is not None


def test_a_first_look_at_a_scene_with_too_much_in_it_is_broken_off_and_made_when_asked_for(
    blender: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "LIMIT_S", 0)
    monkeypatch.setattr(overlay, "GIVE_UP_S", 0)
    overlay.changed_s -= 1
    assert overlay.follow() is None
    assert shown.controls and shown.controls.sight is None and not shown.error and shown.slow_s
    assert "or more: refresh by hand" in drawn(BEYONDSCENE_PT_controls)
    assert blender.ops.beyondscene.refresh_controls() == {"FINISHED"}
    assert shown.controls.sight is not None
    assert "What others, the set or the own head hide is left out" in drawn(BEYONDSCENE_PT_controls)


def test_the_masks_come_back_after_a_playback(blender: Any, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as playing:
        playing.setattr(overlay, "is_playing", lambda: True)
        blender.context.scene.frame_set(2)
        assert overlay.follow() is None and shown.controls.sight is None
        blender.app.timers.unregister(overlay.follow)  # as Blender does then
    for handler in blender.app.handlers.animation_playback_post:  # which Blender calls when it stops
        handler(blender.context.scene, None)
    assert blender.app.timers.is_registered(overlay.follow)
    overlay.changed_s -= overlay.REST_S
    assert overlay.follow() is None and shown.controls.sight


def test_the_frames_of_blenders_own_render_are_none_of_the_overlays(blender: Any, shown: Any) -> None:
    blender.app.timers.unregister(overlay.follow)
    renders = threading.Thread(target=overlay.note_change)
    renders.start()
    renders.join()
    assert not blender.app.timers.is_registered(overlay.follow)


def test_the_overlay_leaves_the_scene_alone_while_blender_renders(
    blender: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as rendering:
        rendering.setattr(blender_render, "is_running", lambda: True)
        assert overlay.follow() and shown.controls is None
    assert overlay.follow() and shown.controls


def test_the_overlay_says_what_is_missing_and_rests_when_off(blender: Any, shown: Any) -> None:
    for name in ("Eve", "Flo"):
        blender.data.objects[name].beyondscene.enabled = False
    overlay.follow()
    assert shown.controls is None and "no armature" in shown.error
    blender.context.window_manager.beyondscene_controls.overlay = False
    assert overlay.follow() is None


def test_each_view_layer_has_an_overlay_of_its_own_and_another_file_has_none(blender: Any, shown: Any) -> None:
    scene, window = blender.context.scene, blender.context.window
    overlay.follow()
    with_eve = scene.view_layers[0]
    stored = blender.data.collections.new("Stored")
    scene.collection.children.link(stored)
    for thing in (blender.data.objects["Eve"], blender.data.objects["Eve.body"]):
        for collection in thing.users_collection:
            collection.objects.unlink(thing)
        stored.objects.link(thing)
    without_eve = scene.view_layers.new("without Eve")
    without_eve.layer_collection.children["Stored"].exclude = True
    window.view_layer = without_eve
    overlay.follow()

    def people(layer: Any) -> list[str]:
        controls = overlay.overlay_of(scene, layer).controls
        return [one.name for one in controls.request.characters] if controls else []

    assert people(without_eve) == ["Flo"] and people(with_eve) == ["Eve", "Flo"]
    assert "Eve:" not in drawn(BEYONDSCENE_PT_controls)
    window.view_layer = with_eve
    assert "Eve:" in drawn(BEYONDSCENE_PT_controls)
    blender.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert overlay.overlay_of(blender.context.scene, blender.context.view_layer).controls is None
    blender.context.window_manager.beyondscene_controls.overlay = False
