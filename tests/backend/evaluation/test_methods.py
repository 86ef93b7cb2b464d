"""Every method draws a picture of the asked size from the same models, and follows what it is told."""

from dataclasses import replace as replaced
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation.methods import (
    METHODS,
    canvas,
    check_method,
    direct,
    load_method,
    regional_multidiffusion,
    settings_of,
)
from beyondscene.backend.evaluation.methods.canvas import describe_whole_scene
from beyondscene.backend.evaluation.methods.demofusion import blur, jittered_views, like
from beyondscene.backend.models.hcp import cross_attention
from beyondscene.backend.models.load import Models
from beyondscene.backend.models.memory_saving import MemorySaving
from beyondscene.backend.pipeline import joint, render, resolve_settings
from beyondscene.backend.pipeline.batches import make_batches
from beyondscene.backend.pipeline.conditions import Condition
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.watch import Stopped
from beyondscene.protocol import Backdrop, Lora, RenderRequest, describe_array, resized
from msgspec.structs import replace

from ...conftest import stand
from ..pipeline.test_render import Spy


@pytest.fixture
def request_resolved(models: Models, two_people: RenderRequest) -> RenderRequest:
    settings = replace(two_people.settings, steps=2)
    return replace(resized(two_people, 128, 128), settings=resolve_settings(settings, models.model_set))


def draw(name: str, models: Models, request: RenderRequest, spy: Spy | None = None) -> np.ndarray:
    return load_method(name)(models, request, {}, spy or Spy())


@pytest.mark.parametrize("name", METHODS)
def test_pictures_have_the_asked_size_and_follow_seed_and_prompt(
    name: str, models: Models, request_resolved: RenderRequest
) -> None:
    spy = Spy()
    picture = draw(name, models, request_resolved, spy)
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8 and picture.std() > 1
    assert (picture == draw(name, models, request_resolved)).all()
    assert (picture != draw(name, models, replace(request_resolved, seed=8))).any()
    ana, bo = request_resolved.characters
    other = replace(request_resolved, characters=(replace(ana, prompt="a man in green"), bo))
    assert (picture != draw(name, models, other)).any()
    fractions = [fraction for *_, fraction in spy.told]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(0.98, abs=0.35)


RIVALS = sorted(METHODS.keys() - {"upscale", "beyondscene"})


@pytest.mark.parametrize("name", RIVALS)
def test_poses_matter_and_work_can_be_stopped(name: str, models: Models, request_resolved: RenderRequest) -> None:
    ana, bo = request_resolved.characters
    moved = replace(ana, keypoints=tuple(replace(joint, x=joint.x - 40) for joint in ana.keypoints))
    other = replace(request_resolved, characters=(moved, bo))
    assert (draw(name, models, request_resolved) != draw(name, models, other)).any()
    with pytest.raises(Stopped):
        draw(name, models, request_resolved, Spy(stop_after=2))


def test_loras_of_the_scene_are_worn_and_those_of_people_where_prompts_are_theirs(
    models: Models, request_resolved: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn: list[str] = []

    def note(sampler: Any, views: Any, conditions: list[Condition], *rest: Any) -> Any:
        worn.extend({" ".join(name for name, _ in condition.loras) for condition in conditions})
        return make_batches(sampler, views, [replaced(condition, loras=()) for condition in conditions], *rest)

    for module in (joint, regional_multidiffusion):
        monkeypatch.setattr(module, "make_batches", note)
    ana, bo = request_resolved.characters
    people = (replace(ana, loras=(Lora(name="likeness"),)), bo)
    request = replace(request_resolved, loras=(Lora(name="clay"),), characters=people)
    direct.draw(models, request, {}, Spy())
    assert worn == ["clay"]
    regional_multidiffusion.draw(models, request, {}, Spy())
    assert worn[1:] == ["clay", "clay likeness", "clay"]  # near to far, then the background


def test_methods_that_draw_no_backdrop_draw_the_joints_behind_the_set(models: Models, two_people: RenderRequest) -> None:
    hidden = [replace(joint, state="occluded", hidden_by="prop") for joint in two_people.characters[0].keypoints]
    ana = replace(two_people.characters[0], keypoints=tuple(hidden))
    settings = replace(two_people.settings, hidden_joints="keep")
    request = replace(two_people, characters=(ana,), settings=settings)
    place = Backdrop(image=describe_array(np.zeros((64, 96, 3), np.uint8)))
    poses = [describe_whole_scene(models, one, Size(192, 128)).pose for one in (request, replace(request, backdrop=place))]
    assert poses[0].any() and (poses[0] == poses[1]).all()


def test_skeletons_have_hands_where_the_models_know_them(models: Models, request_resolved: RenderRequest) -> None:
    ana, _ = request_resolved.characters
    hand = tuple(replace(ana.keypoints[0], x=20 + 4 * joint, y=100) for joint in range(21))
    request = replace(request_resolved, characters=(replace(ana, right_hand=hand),))
    own = models.model_set
    knowing = replaced(models, model_set=replace(own, manifest=replace(own.manifest, pose_hands=True)))
    without, with_hand = (describe_whole_scene(some, request, Size(128, 128)).pose for some in (models, knowing))
    assert (without != with_hand).any(axis=2)[98:103, 20:100].mean() > 0.5


@pytest.mark.parametrize("name", [*RIVALS, "upscale"])
def test_hcp_layers_count_in_every_evaluation(name: str, models: Models, request_resolved: RenderRequest) -> None:
    asked = replace(request_resolved, settings=replace(request_resolved.settings, steps=1, hcp_scale=0.5))
    layer, scales = next(iter(cross_attention(models.unet).values())), set[float]()
    handle = models.unet.register_forward_pre_hook(lambda *_: scales.add(getattr(layer.processor, "hcp_scale", 0.0)))
    try:
        draw(name, models, asked)
    finally:
        handle.remove()
    assert scales == {0.5} and "hcp_scale" in settings_of(name)


@pytest.mark.parametrize("name", RIVALS)
def test_sides_that_no_level_of_the_network_divides(name: str, models: Models, request_resolved: RenderRequest) -> None:
    odd = resized(request_resolved, 184, 88)  # 23 x 11 latents
    assert draw(name, models, odd).shape == (88, 184, 3)


@pytest.mark.parametrize("name", RIVALS)
def test_methods_without_parts_are_told_of_them_all_the_same(
    name: str, models: Models, request_resolved: RenderRequest
) -> None:
    ana, bo = request_resolved.characters
    split = replace(bo, prompt="a man", part_prompts={"upper_body": "a blue coat"})
    said = [replace(request_resolved, characters=(ana, one)) for one in (split, replace(bo, prompt="a man, a blue coat"))]
    assert (draw(name, models, said[0]) == draw(name, models, said[1])).all()


@pytest.mark.parametrize("name", ["direct", "beyondscene"])
def test_nobody_is_drawn_whom_their_mask_shows_nowhere(name: str, models: Models, request_resolved: RenderRequest) -> None:
    ana, bo = request_resolved.characters
    nowhere = np.zeros((128, 128), np.uint8)
    hidden = replace(request_resolved, characters=(ana, replace(bo, mask=describe_array(nowhere))))
    drawn = load_method(name)(models, hidden, {describe_array(nowhere).digest: nowhere}, Spy())
    assert np.array_equal(drawn, draw(name, models, replace(request_resolved, characters=(ana,))))


def test_upscale_is_the_base_image_enlarged(models: Models, request_resolved: RenderRequest) -> None:
    base, *_ = render(models, resized(request_resolved, 64, 64), {}, Spy())
    assert np.array_equal(
        draw("upscale", models, request_resolved), cv2.resize(base, (128, 128), interpolation=cv2.INTER_LANCZOS4)
    )


def test_upscale_draws_whoever_the_base_image_has(models: Models, request_resolved: RenderRequest) -> None:
    """Also somebody of 5 px there, which nobody may ask for: the picture that is asked for has 37."""
    settings = replace(request_resolved.settings, steps=1)
    distant = replace(
        request_resolved, width=512, height=512, characters=(stand("Ana", "a man", 250, 250, 40),), settings=settings
    )
    assert draw("upscale", models, distant).shape == (512, 512, 3)


def test_with_one_view_multidiffusion_is_direct(models: Models, request_resolved: RenderRequest) -> None:
    small = resized(request_resolved, 64, 64)
    assert np.array_equal(draw("direct", models, small), draw("multidiffusion", models, small))


def test_regional_prompts_hold_where_their_person_stands(
    models: Models, request_resolved: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one step a prompt reaches no farther than its mask; one prompt for all reaches everywhere."""
    wide = replace(resized(request_resolved, 320, 64), settings=replace(request_resolved.settings, steps=1))
    ana, _ = wide.characters
    left = replace(ana, keypoints=tuple(replace(k, x=24 + (k.x - ana.keypoints[1].x) / 4) for k in ana.keypoints))
    drawn: list[torch.Tensor] = []

    def keep(_models: Models, latents: torch.Tensor) -> np.ndarray:  # the VAE's GroupNorm would carry a trace of all to all
        drawn.append(latents)
        return np.zeros((64, 320, 3), np.uint8)

    for module in (regional_multidiffusion, canvas):
        monkeypatch.setattr(module, "decode_latents", keep)

    def changed(name: str) -> torch.Tensor:
        for words in ("a red shirt", "a man in green"):
            draw(name, models, replace(wide, characters=(replace(left, prompt=words),)))
        return (drawn[-2] != drawn[-1]).any(0).any(0)

    regional, shared = changed("regional_multidiffusion"), changed("multidiffusion")
    assert regional[:8].any() and not regional[20:].any()
    assert shared[20:].any()


@pytest.mark.parametrize(("size", "jittered"), [((128, 128), 2), ((256, 128), 3), ((128, 256), 3)])
def test_dilated_views_of_demofusion_run_in_batches_and_draw_the_same(
    models: Models, request_resolved: RenderRequest, size: tuple[int, int], jittered: int
) -> None:
    """jittered: batches of the other views of a step. The four dilated ones of twice the size are one batch."""
    request = resized(request_resolved, *size)

    def draw_in_batches_of(views: int) -> tuple[np.ndarray, list[int]]:
        rows: list[int] = []
        handle = models.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
        try:
            return draw("demofusion", replaced(models, memory_saving=MemorySaving(view_batch=views)), request), rows
        finally:
            handle.remove()

    (alone, single), (together, rows) = draw_in_batches_of(1), draw_in_batches_of(8)
    guided, steps = 2, 2
    assert set(single) == {guided} and sum(rows) == sum(single)
    assert len(rows) == steps * (1 + 1 + jittered)  # of the first phase, dilated, jittered
    assert np.abs(alone.astype(int) - together).max() <= 1 and alone.std() > 1


def test_jittered_views_cover_the_canvas() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        covered = np.zeros((50, 70), bool)
        views = jittered_views(50, 70, 32, random)
        for top, left in views:
            assert 0 <= top <= 18 and 0 <= left <= 38
            covered[top : top + 32, left : left + 32] = True
        assert covered.all()


def test_blur_keeps_flat_latents_and_like_keeps_moments() -> None:
    flat = torch.full((4, 20, 24), 0.7)
    assert torch.allclose(blur(flat, 0.8, 5)[:, 2:-2, 2:-2], flat[:, 2:-2, 2:-2], atol=1e-6)  # zeros lie beyond the border
    noise = torch.randn(4, 20, 24, generator=torch.Generator().manual_seed(0))
    soft = blur(noise, 0.8, 5)
    assert soft.std() < 0.7 * noise.std()
    restored = like(soft, noise)
    assert torch.allclose(restored.std(), noise.std(), rtol=1e-4) and torch.allclose(restored.mean(), noise.mean(), atol=1e-4)


def test_unknown_methods_are_named() -> None:
    with pytest.raises(ValueError, match="There is no method 'magic': known are direct, multidiffusion"):
        check_method("magic")
