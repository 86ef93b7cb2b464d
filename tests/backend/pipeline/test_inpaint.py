"""The background is painted as diffusers paints it, around people who come out as they went in."""

from collections.abc import Callable
from dataclasses import replace as replace_fields
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline import Progress, inpaint, resolve_settings
from beyondscene.backend.pipeline.composite import Collage, compose
from beyondscene.backend.pipeline.conditions import Condition
from beyondscene.backend.pipeline.inpaint import inpaint_background, keep_people
from beyondscene.backend.pipeline.instances import Portrait, Similarity
from beyondscene.backend.pipeline.prompts import Embedding, PromptEncoder
from beyondscene.backend.pipeline.sampler import Sampler
from beyondscene.backend.pipeline.seeds import seed_for
from beyondscene.backend.pipeline.segment import Cutout
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.protocol import GREY, Lora, RenderRequest
from diffusers import StableDiffusionXLControlNetInpaintPipeline
from diffusers.pipelines.controlnet import pipeline_controlnet_inpaint_sd_xl as of_theirs
from msgspec.structs import replace

from .reference import Call, as_tensor, of_diffusers, overhear
from .test_render import Spy

STEPS = 4
PERSON = (slice(16, 56), slice(24, 48))  # rows and columns of the collage; whole latents


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    """With an inpainting UNet of 4 channels."""
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


class Monotone(PromptEncoder):
    """Says the same whatever it is asked: what inpainting is told of is not what is tested here."""

    def encode(self, text: str, at_least_chunks: int = 1) -> Embedding:
        return super().encode("a plaza", at_least_chunks)

    def encode_negative(self, text: str, chunks: int) -> Embedding:
        return super().encode("blurry", chunks)

    def count_chunks(self, text: str) -> int:
        return 1


def make_collage(width: int = 64, seed: int = 0) -> Collage:
    """Somebody of many colours on grey, 64 px high."""
    cover = np.zeros((64, width), np.float32)
    cover[PERSON] = 1
    colours = np.random.default_rng(seed).integers(0, 256, (16, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    grey = np.full((64, width, 3), GREY, np.uint8)
    return Collage(np.where(cover[..., None] > 0, colours, grey), cover, [], grey)


def paint(models: Models, request: RenderRequest, collage: Collage, seam_px: float = 0, strength: float = 0.5) -> np.ndarray:
    settings = replace(request.settings, steps=STEPS, guidance_scale=2.0, inpaint_strength=strength)
    request = replace(request, settings=resolve_settings(settings, models.model_set))
    return inpaint_background(models, request, collage, Monotone(models), seam_px, Progress(Spy(), 1, 1))


def paint_with_diffusers(
    models: Models, request: RenderRequest, collage: Collage, solver: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> tuple[np.ndarray, list[Call]]:
    """Its picture, from 0 to 255, and what its UNet saw, with the same noise; a VAE's mean is taken, as we do."""
    monkeypatch.setattr(of_theirs, "retrieve_latents", lambda encoded, **_: encoded.latent_dist.mode())
    networks = {"unet": models.inpainting, "controlnet": models.controlnet}
    pipeline = of_diffusers(StableDiffusionXLControlNetInpaintPipeline, models, solver, **networks)
    settings = resolve_settings(request.settings, models.model_set)
    with overhear(models.inpainting) as calls:
        (picture,) = pipeline(
            "a plaza",
            negative_prompt="blurry",
            image=as_tensor(np.where(collage.cover[..., None] > 0, collage.image, collage.backdrop)),
            mask_image=torch.from_numpy(1 - collage.cover)[None, None],
            control_image=torch.zeros(1, 3, 64, 64),
            height=64,
            width=64,
            strength=strength,
            num_inference_steps=STEPS,
            guidance_scale=2.0,
            controlnet_conditioning_scale=settings.controlnet_conditioning_scale,
            generator=torch.Generator().manual_seed(seed_for(request.seed, "background")),
            output_type="np",
        ).images
    return 255 * picture, calls


@pytest.fixture
def unguided(two_people: RenderRequest) -> RenderRequest:
    """Without guidance to the pose, which diffusers does not have."""
    return replace(two_people, settings=replace(two_people.settings, guide_pose=False))


@pytest.mark.parametrize("solver", ["ddim", "euler"])
def test_a_network_of_nine_channels_sees_what_diffusers_shows_it(
    sdxl: Models, unguided: RenderRequest, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noisy latents, then the mask, 1 where it is painted, then the picture with grey in place of what is painted."""
    request = replace(unguided, settings=replace(unguided.settings, scheduler=solver))
    collage = make_collage()
    with overhear(sdxl.inpainting) as calls:
        paint(sdxl, request, collage)
    _, expected = paint_with_diffusers(sdxl, request, collage, solver, 0.5, monkeypatch)
    assert [call.timestep for call in calls] == [call.timestep for call in expected]
    seen, shown = calls[0].latents, expected[0].latents
    assert seen.shape == (2, 9, 8, 8)
    torch.testing.assert_close(seen[:, :4], shown[:, :4], atol=1e-4, rtol=1e-4)
    mask = torch.ones(8, 8)
    mask[2:7, 3:6] = 0
    assert torch.equal(seen[:, 4], shown[:, 4]) and torch.equal(seen[0, 4], mask)
    # our grey is a byte, 127, and theirs 127.5
    assert (seen[:, 5:] - shown[:, 5:]).abs().max() < 0.02 * shown[:, 5:].std()
    assert all(torch.equal(call.latents[:, 4:], seen[:, 4:]) for call in calls)


@pytest.mark.parametrize("strength", [0.5, 0.75])
def test_a_network_of_four_channels_paints_what_diffusers_paints(
    models: Models, unguided: RenderRequest, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known latents are put back at every step, as noisy as the rest."""
    collage = make_collage()
    image = paint(models, unguided, collage, strength=strength)
    expected, _ = paint_with_diffusers(models, unguided, collage, "ddim", strength, monkeypatch)
    background = far_from(collage.cover > 0, 4)
    assert image[background].std() > 5 and np.abs(image[background].astype(float) - GREY).max() > 20
    assert np.abs(image[background] - expected[background]).max() <= 1


def test_from_a_backdrop_a_network_paints_what_diffusers_paints_over_a_picture(
    models: Models, unguided: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    backdrop = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    grey, collage = make_collage(), replace_fields(make_collage(), backdrop=backdrop)
    image = paint(models, unguided, collage)
    expected, _ = paint_with_diffusers(models, unguided, collage, "ddim", 0.5, monkeypatch)
    background = far_from(collage.cover > 0, 4)
    assert np.abs(image[background] - expected[background]).max() <= 1
    assert np.abs(image[background] - paint(models, unguided, grey)[background].astype(int)).max() > 20
    assert (collage.show()[background] == backdrop[background]).all()


def far_from(mask: np.ndarray, reach: int) -> np.ndarray:
    """bool (H, W): more than `reach` rows or columns away from `mask`."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) == 0


def test_people_come_out_as_they_went_in(sdxl: Models, unguided: RenderRequest) -> None:
    collage = make_collage()
    image = paint(sdxl, unguided, collage)
    inside = far_from(collage.cover == 0, 2)
    assert (image[inside] == collage.image[inside]).all()
    edge = (collage.cover > 0) & ~inside  # no more than softened
    assert np.abs(image[edge].astype(int) - collage.image[edge]).mean() < 25
    outside = collage.cover == 0
    assert (np.abs(image[outside].astype(int) - GREY).max(-1) > 3).mean() > 0.9  # no grey is left


def test_the_background_reaches_into_the_rim_of_people_and_no_farther(sdxl: Models, unguided: RenderRequest) -> None:
    collage, seam_px = make_collage(), 3
    depth = np.array([far_from(collage.cover == 0, reach) for reach in range(12)]).sum(0)  # pixels from the outline
    away = np.abs(paint(sdxl, unguided, collage, seam_px).astype(int) - collage.image).mean(-1)
    outermost, half, beyond = (float(away[depth == at].mean()) for at in (1, seam_px, 2 * seam_px))
    assert outermost > 40 and 0.3 * outermost < half < 0.8 * outermost and beyond < 0.1 * outermost
    assert (away[depth > 3 * seam_px] == 0).all() and (depth > 3 * seam_px).any()


@pytest.mark.parametrize(("seam_px", "rows", "columns"), [(0, (2, 7), (3, 6)), (2, (2, 7), (3, 6)), (5, (3, 6), (4, 5))])
def test_latents_that_lie_mostly_in_the_rim_are_painted_anew(
    sdxl: Models, unguided: RenderRequest, seam_px: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    with overhear(sdxl.inpainting) as calls:
        paint(sdxl, unguided, make_collage(), seam_px, strength=0.25)
    mask = torch.ones(8, 8)
    mask[slice(*rows), slice(*columns)] = 0
    assert torch.equal(calls[0].latents[0, 4], mask)


@pytest.mark.parametrize("feather_px", [2, 6])
def test_somebody_white_in_a_white_scene_has_no_grey_rim(
    models: Models, unguided: RenderRequest, feather_px: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inpaint, "decode_latents", lambda *_: np.full((64, 64, 3), 255, np.uint8))
    ana = gather_people(unguided)[0]
    mask = make_collage().cover > 0
    portrait = Portrait(ana, Similarity(64 / unguided.width, 0, 0), np.full((64, 64, 3), 255, np.uint8))
    collage = compose(replace(unguided, height=192), {}, [Cutout(portrait, mask, {})], Size(64, 64), feather_px)
    assert (collage.cover[mask] < 1).any()  # a soft rim
    assert paint(models, unguided, collage, seam_px=2, strength=0.25).min() == 255


def test_colours_of_a_rim_too_faint_to_be_seen_are_not_painted(models: Models, unguided: RenderRequest) -> None:
    collage = make_collage()
    faint = (far_from(collage.cover > 0, 2) == 0) & (collage.cover == 0)
    reddened = np.where(faint[..., None], np.array((255, 0, 0), np.uint8), collage.image)
    red = Collage(reddened, collage.cover + 1e-5 * faint, [], collage.backdrop)
    assert np.abs(paint(models, unguided, red).astype(int) - paint(models, unguided, collage)).max() <= 1


def masked_picture(models: Models, request: RenderRequest, collage: Collage, seam_px: float) -> torch.Tensor:
    """The channels that hold the picture without what is painted anew."""
    with overhear(models.inpainting) as calls:
        paint(models, request, collage, seam_px, strength=0.25)
    return calls[0].latents[0, 5:]


def test_the_network_sees_nothing_of_what_it_paints_anew(sdxl: Models, unguided: RenderRequest) -> None:
    collage, other = make_collage(), make_collage(seed=1)
    inside = far_from(collage.cover == 0, 5)[..., None]
    rim = Collage(np.where(inside, collage.image, other.image), collage.cover, [], collage.backdrop)
    core = Collage(np.where(inside, other.image, collage.image), collage.cover, [], collage.backdrop)
    seen, of_rim, of_core = (masked_picture(sdxl, unguided, one, 5) for one in (collage, rim, core))
    assert torch.equal(seen, of_rim) and not torch.allclose(seen, of_core, atol=0.01)
    assert not torch.allclose(masked_picture(sdxl, unguided, rim, 0), masked_picture(sdxl, unguided, collage, 0), atol=0.01)


@pytest.mark.parametrize(("strength", "steps"), [(0.25, 1), (0.5, 2), (0.99, 3), (1.0, 4)])
def test_strength_is_the_share_of_steps_that_are_run(
    sdxl: Models, unguided: RenderRequest, strength: float, steps: int
) -> None:
    with overhear(sdxl.inpainting) as calls:
        paint(sdxl, unguided, make_collage(), strength=strength)
    whole = of_diffusers(StableDiffusionXLControlNetInpaintPipeline, sdxl, controlnet=sdxl.controlnet).scheduler
    whole.set_timesteps(STEPS)
    assert [call.timestep for call in calls] == whole.timesteps[-steps:].tolist()


def test_each_view_of_a_wide_picture_has_its_part_of_the_mask(sdxl: Models, unguided: RenderRequest) -> None:
    collage = make_collage(128)
    collage.cover[16:40, 72:104] = 1
    with overhear(sdxl.inpainting) as calls:
        paint(sdxl, unguided, collage, strength=0.25)
    views = torch.cat([call.latents.chunk(2)[1] for call in calls])  # with the positive prompts
    free = 1 - torch.from_numpy(collage.cover)[::8, ::8]
    expected = [free[:, left : left + 8] for left in range(0, 10, 2)]
    assert all(torch.equal(view[4], mask) for view, mask in zip(views, expected, strict=True))
    assert all(torch.equal(left[..., 2:], right[..., :-2]) for left, right in pairwise(views))


def test_the_background_is_told_of_the_scene_and_of_its_people_only_where_asked(
    sdxl: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    wearing = [replace(one, loras=(Lora(name="own"),)) for one in two_people.characters]  # which is not the background's
    ana, _ = gather_people(replace(two_people, characters=tuple(wearing)))
    figure = Figure(ana, make_collage().cover > 0, {})
    collage = replace_fields(make_collage(), figures=[figure])
    told: list[list[Condition]] = []

    def note(
        sampler: Sampler, begin: Callable[[], torch.Tensor], _: int, views: Any, conditions: Any, stage: Any
    ) -> torch.Tensor:
        assert sampler.view_weighting == "feathered"
        told.append(conditions)
        return begin()

    monkeypatch.setattr(inpaint, "denoise", note)
    for inpaint_people in ("nothing", "poses", "everything"):
        settings = replace(two_people.settings, inpaint_people=inpaint_people, steps=STEPS)
        request = replace(
            two_people, style="oil painting", negative_prompt="fog", loras=(Lora(name="clay"),), settings=settings
        )
        paint(sdxl, request, collage)
    (alone,), (posed,), (with_ana,) = told
    assert {(one.negative_prompt, one.loras) for one in (alone, posed, with_ana)} == {("fog", (("clay", 1.0),))}
    assert alone.prompt == f"{two_people.prompt}, oil painting" and not alone.pose().any()
    assert posed.prompt == f"{two_people.prompt}, oil painting" and posed.pose().any()
    assert with_ana.prompt == f"{two_people.prompt}, {ana.character.prompt}, oil painting" and with_ana.pose().any()


def test_what_is_known_is_encoded_in_its_own_stage(
    models: Models, two_people: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wide base that takes long, so it is told, and its time counts."""
    spy, stages, encode_image = Spy(), [], inpaint.encode_image
    monkeypatch.setattr(
        inpaint, "encode_image", lambda *args: stages.extend(stage for stage, *_ in spy.told[-1:]) or encode_image(*args)
    )
    settings = resolve_settings(replace(two_people.settings, steps=1), models.model_set)
    progress = Progress(spy, 1, 1)
    inpaint_background(models, replace(two_people, settings=settings), make_collage(), Monotone(models), 0, progress)
    assert stages == ["inpaint"]


def test_half_of_somebody_thin_is_kept_and_all_but_the_rim_of_others(two_people: RenderRequest) -> None:
    cover, (ana, bo) = np.zeros((64, 96), np.float32), gather_people(two_people)
    thin, stout = cover > 0, cover > 0
    thin[20:40, 10:13] = stout[8:56, 40:70] = True
    cover[thin | stout] = 1
    figures = [Figure(ana, thin, {}), Figure(bo, stout, {})]
    known, alpha = keep_people(Collage(np.zeros((64, 96, 3), np.uint8), cover, figures, np.zeros((64, 96, 3), np.uint8)), 4.0)
    assert known[21:39, 11].all() and known[thin].mean() < 0.5
    assert alpha[25:35, 11].min() > 0.5
    assert known[13:51, 45:65].all() and known[stout].sum() == (48 - 8) * (30 - 8)
    assert alpha[30, 55] == 1 and alpha[~(thin | stout)].max() == 0
