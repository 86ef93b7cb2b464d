"""Quality, seeds, variations, and what a picture takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

pytest.importorskip("bpy")

from beyondscene.addon import panels, planner, preferences, quality, session
from beyondscene.addon.exporters import ExportError, gather_request, picture_size
from beyondscene.protocol import ModelSetInfo, RenderSettings, Submit, Welcome
from msgspec import Meta
from msgspec.structs import replace

from .conftest import until
from .drawing import drawn

Example = Callable[[str], dict[str, Any]]


def submitted(peer: Any) -> list[Submit]:
    return [one for one in peer.heard if isinstance(one, Submit)]


def test_custom_starts_from_the_quality_that_is_taken(blender: Any) -> None:
    own = blender.context.scene.beyondscene
    own.quality = "CUSTOM"
    for name, preset in quality.PRESETS.items():
        own.knobs.hidden_joints = "drop"
        assert blender.ops.beyondscene.take_quality(quality=name) == {"FINISHED"}
        assert quality.chosen_settings(own) == preset.settings


def test_every_knob_says_what_it_does(blender: Any) -> None:
    knobs = blender.context.scene.beyondscene.knobs.bl_rna.properties
    for name in quality.FIELDS:
        assert len(knobs[name].description) > 20 and not knobs[name].description.endswith(".")
    assert knobs["hidden_joints"].name == "Hidden Joints" and knobs["mask_feather_px"].name == "Mask Feather (px)"
    assert knobs["t_b"].name == "t_b"
    assert knobs["steps"].description.endswith("0: the model set's own choice")


def test_every_setting_of_the_method_is_a_knob_and_comes_back_exactly(blender: Any) -> None:
    own = blender.context.scene.beyondscene
    assert quality.chosen_settings(own) == RenderSettings()
    own.quality = "CUSTOM"
    assert quality.chosen_settings(own) == RenderSettings()
    for settings in (
        RenderSettings(steps=50, t_b=0.7, guidance_scale=0.0, scheduler="euler", prepend_global=False, canny_low=33.3),
        RenderSettings(guide_pose=True, perturb="off", size_conditioning="canvas", clahe_clip_limit=0),
        RenderSettings(guide_pose=False, hidden_joints="dim"),
    ):
        quality.write_knobs(own.knobs, settings)
        assert quality.chosen_settings(own) == settings


def test_choices_that_are_added_later_leave_the_numbers_that_files_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quality.PRESETS, "DRAFT", quality.PRESETS["PREVIEW"])
    numbers = {name: number for name, _, _, number in quality.quality_choices()}
    assert numbers == {"PREVIEW": 0, "STANDARD": 1, "FINAL": 2, "CUSTOM": 3, "DRAFT": 4}
    listed = Annotated[Literal["keep", "dim", "drop", "blur"] | None, Meta(description="How")]
    assert quality.choices(((name, "", "") for name in quality.names_in_order(listed)), quality.AS_THE_MODELS) == [
        ("keep", "", "", 0), ("dim", "", "", 1), ("drop", "", "", 2), ("blur", "", "", 4), (*quality.AS_THE_MODELS, 3),
    ]  # fmt: skip


def test_a_preview_is_small_and_keeps_the_proportions(blender: Any) -> None:
    scene = blender.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 7680, 4320, 100
    assert picture_size(scene) == (7680, 4320)
    scene.beyondscene.quality = "PREVIEW"
    assert picture_size(scene) == (1024, 576)
    scene.render.resolution_x, scene.render.resolution_y = 640, 480
    assert picture_size(scene) == (640, 480)
    scene.beyondscene.quality = "STANDARD"
    scene.render.resolution_x, scene.render.resolution_y = 1366, 60
    assert "Use 1368 x 64" in drawn(panels.BEYONDSCENE_PT_picture)
    assert blender.ops.beyondscene.snap_size() == {"FINISHED"}
    assert picture_size(scene) == (1368, 64)
    assert "Use " not in drawn(panels.BEYONDSCENE_PT_picture)
    models = ModelSetInfo(name="embedded", training_resolution_px=256, steps=20)
    for preset in quality.PRESETS.values():
        assert quality.describe_settings(preset.settings, models)[0].startswith(("12 steps", "20 steps"))


def test_a_side_that_is_dragged_pixel_by_pixel_stays_one_that_a_picture_may_have(blender: Any) -> None:
    scene = blender.context.scene
    own = scene.beyondscene
    own.use_own_size, own.width, own.height = True, 323, 1001
    assert picture_size(scene) == (320, 1000)


def test_a_quality_of_a_later_version_is_refused_and_can_be_chosen_anew(blender: Any, example: Example) -> None:
    example("duo")
    scene = blender.context.scene
    scene.beyondscene.quality = "FINAL"
    stored = scene.bl_system_properties_get() if blender.app.version >= (5, 0) else scene
    stored["beyondscene"]["quality"] = 9  # a number that no item has
    assert "is of a later version: choose another" in drawn(panels.BEYONDSCENE_PT_main)
    assert "Quality" in drawn(panels.BEYONDSCENE_PT_picture) and "Eve" in drawn(panels.BEYONDSCENE_PT_characters)
    with pytest.raises(ExportError, match="update BeyondScene"):
        gather_request(blender.context)


def test_a_preview_takes_few_steps_where_the_backends_models_can(blender: Any, example: Example) -> None:
    example("duo")
    own = blender.context.scene.beyondscene
    own.quality = "PREVIEW"
    models = ModelSetInfo(name="embedded", training_resolution_px=256, steps=20)
    can = replace(models, few_steps=4)
    asked = gather_request(blender.context).settings  # before a backend has said what it can
    for told, line in ((models, "12 steps, dpmsolver++"), (can, "4 steps, the solver made for them")):
        others = replace(can, name="other")
        session.current().welcome = Welcome(version=1, app_version="0", boot_id="b", models=(others, told))
        assert gather_request(blender.context).settings == asked
        assert line in drawn(panels.BEYONDSCENE_PT_picture)
    assert asked.few_steps is None
    own.quality = "STANDARD"
    assert gather_request(blender.context).settings == RenderSettings()


def test_a_scene_is_exported_with_its_quality_whoever_exports_it(blender: Any, example: Example) -> None:
    example("duo")
    scene = blender.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.beyondscene.quality = 2048, 2048, "PREVIEW"
    request = gather_request(blender.context)
    assert (request.width, request.height, request.settings) == (1024, 1024, quality.PRESETS["PREVIEW"].settings)
    assert gather_request(blender.context, width=640, height=640).width == 640  # a size that is given counts


def test_variations_are_pictures_of_seeds_that_follow_each_other(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    peer = start_peer(picture=picture)
    use_backend(peer.connection)
    own = blender.context.scene.beyondscene
    own.output_folder, own.seed, own.variations, own.quality = str(tmp_path / "renders"), 7, 3, "FINAL"
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    requests = [one.request for one in submitted(peer)]
    assert [one.seed for one in requests] == [7, 8, 9]
    assert {one.settings.stride_background for one in requests} == {32}
    names = [f"duo {number:04d}" for number in (1, 2, 3)]
    assert [path.name for path in sorted((tmp_path / "renders").iterdir())] == [f"{name}.png" for name in names]
    assert {image.name for image in blender.data.images} == {f"BeyondScene {name}" for name in names}
    assert own.seed == 7
    own.lock_seed, own.variations, own.quality = False, 1, "PREVIEW"
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    last = submitted(peer)[-1].request
    assert last.seed == own.seed != 7 and last.settings.steps == 12
    assert (tmp_path / "renders" / "duo 0004.png").exists()


def test_a_seed_that_was_drawn_is_not_lost_with_what_is_undone_after_it(
    blender: Any, example: Example, start_peer: Any, use_backend: Any, picture: bytes, tmp_path: Path
) -> None:
    example("duo")
    use_backend(start_peer(picture=picture).connection)
    blender.ops.ed.undo_push(message="before")
    own = blender.context.scene.beyondscene
    own.output_folder, own.lock_seed = str(tmp_path), False
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    drawn_seed = own.seed
    blender.data.objects["Eve"].location.x += 1
    blender.ops.ed.undo_push(message="move")
    blender.ops.ed.undo()
    assert blender.context.scene.beyondscene.seed == drawn_seed != 0


def test_what_a_picture_takes_is_asked_of_the_backend(blender: Any, example: Example, gateway: Any, use_backend: Any) -> None:
    example("duo")
    use_backend(gateway.connection())
    state, own = session.current(), blender.context.scene.beyondscene
    state.start(preferences.get(blender.context))
    until(lambda: state.link.state == "ready")
    own.use_own_size, own.width, own.height = True, 512, 512

    def plan() -> Any:
        return planner.plan_of(blender.context)

    planner.look(blender.context)
    until(plan)
    assert plan() and not plan().obstacle
    assert [(one.width, one.views) for one in plan().canvases[:2]] == [(128, 1), (256, plan().canvases[1].views)]
    assert plan().people == 2 and plan().seconds is None
    assert blender.ops.beyondscene.render.poll()
    first = plan()
    planner.look(blender.context)  # nothing has changed, so nothing is asked
    own.width, own.height = 65536, 65536
    planner.look(blender.context)
    until(lambda: plan() is not first)
    if plan() and plan().obstacle:  # on a machine with less memory than that takes
        assert "choose" in plan().obstacle
        assert not blender.ops.beyondscene.render.poll()
    own.width, own.height, own.models = 512, 512, "nowhere"
    planner.look(blender.context)
    until(lambda: plan() and plan().obstacle)
    assert not blender.ops.beyondscene.render.poll()
    own.models = "embedded"
    assert blender.ops.beyondscene.render.poll()  # before anybody is asked again
    planner.look(blender.context)
    until(lambda: plan() and len(plan().canvases) == 3)
    person = blender.data.objects["Eve"].beyondscene
    for owner, name, value in ((own, "models", ""), (person, "prompt", "a woman" * 2000)):
        before = getattr(owner, name)
        setattr(owner, name, value)  # what no gateway could decode
        planner.look(blender.context)
        assert plan() is None and not state.error
        setattr(owner, name, before)
        planner.look(blender.context)
        until(plan)
        assert not state.error
    assert blender.ops.beyondscene.render(wait=True) == {"FINISHED"}
    planner.look(blender.context)
    until(plan)
    assert plan() and plan().seconds is not None  # the gateway has seen one by now
    blender.context.window.scene = blender.data.scenes.new("Another")
    assert plan() is None and "known while a backend runs" in drawn(panels.BEYONDSCENE_PT_picture)
    blender.context.window.scene = blender.data.scenes["duo"]
    shown = drawn(panels.BEYONDSCENE_PT_picture)
    assert "Time: about" in shown and "2 people alone; base 128 x 128" in shown and "Level 2: 512 x 512" in shown
