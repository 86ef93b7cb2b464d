"""People are centred on their own canvas, drawn as diffusers draws, and go back exactly to where they stand."""

import numpy as np
import pytest
from beyondscene.backend.models.load import Models
from beyondscene.backend.pipeline import Progress
from beyondscene.backend.pipeline.instances import centre, describe_alone, draw_people_alone
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.pipeline.schedule import SCHEDULERS
from beyondscene.backend.pipeline.seeds import draw_noise
from beyondscene.backend.planning.people import bounding_box, gather_people
from beyondscene.backend.planning.resolve import resolve_settings
from beyondscene.protocol import KEYPOINT_NAMES, RenderRequest, RenderSettings
from diffusers import StableDiffusionXLControlNetPipeline
from msgspec.structs import replace

from .reference import as_tensor, of_diffusers
from .test_render import Spy


def test_pose_fills_its_canvas(two_people: RenderRequest) -> None:
    person = gather_people(two_people)[0]
    left, top, right, bottom = bounding_box(centre(person.keypoints, 256, 0.8).apply(person.keypoints))
    assert bottom - top == pytest.approx(0.8 * 256)
    nose, neck = person.keypoints[:2, 1]
    assert bounding_box(person.keypoints)[1] == pytest.approx(2 * nose - neck)  # with the crown of the head
    assert (left + right) / 2 == pytest.approx(128) and (top + bottom) / 2 == pytest.approx(128)


def test_transform_goes_back_exactly(two_people: RenderRequest) -> None:
    person = gather_people(two_people)[1]
    at = centre(person.keypoints, 256, 0.8)
    on_canvas = at.apply(person.keypoints)[:, :2]
    back = (on_canvas - (at.shift_x, at.shift_y)) / at.scale
    assert np.allclose(back, person.keypoints[:, :2])


def test_what_is_far_outside_the_picture_makes_no_portrait_small(sdxl: Models, two_people: RenderRequest) -> None:
    """192x128, so joints count up to 96 px outside; the wrist belongs to a limb, the ankle to one that is out there whole."""
    ana, bo = two_people.characters
    joints = dict(zip(KEYPOINT_NAMES, ana.keypoints, strict=True))
    elbow = joints["RElbow"]
    joints |= {"RWrist": replace(elbow, x=elbow.x + 4000, y=elbow.y + 400), "RAnkle": replace(elbow, y=9000)}
    joints["RKnee"] = replace(elbow, y=5000)
    far = replace(two_people, characters=(replace(ana, keypoints=tuple(joints.values())), bo))
    person, plain = gather_people(far)[0], gather_people(two_people)[0]
    portrait = dict(zip(KEYPOINT_NAMES, person.portrait_keypoints, strict=True))
    assert np.allclose(portrait["RWrist"], (192 + 96, elbow.y + (192 + 96 - elbow.x) / 10, 1))
    assert portrait["RKnee"][1:].tolist() == [128 + 96, 1] and portrait["RAnkle"][2] == 0
    assert (person.keypoints[:, 2] == plain.keypoints[:, 2]).all()  # a view of a level shows the limb as it is
    assert centre(person.portrait_keypoints, 256, 0.8).scale > 0.4 * centre(plain.portrait_keypoints, 256, 0.8).scale
    assert (plain.portrait_keypoints == plain.keypoints).all()
    settings = replace(two_people.settings, steps=1, person_cover=0.6)
    request = replace(far, settings=resolve_settings(settings, sdxl.model_set))
    (drawn,) = draw_people_alone(sdxl, request, [person], PromptEncoder(sdxl), Progress(Spy(), 1, 1))
    assert drawn.canvas_from_scene == centre(person.portrait_keypoints, 64, 0.6)


def test_a_joint_that_no_limb_joins_to_the_far_ones_is_no_portrait_by_itself(two_people: RenderRequest) -> None:
    wrist, knee = KEYPOINT_NAMES.index("RWrist"), KEYPOINT_NAMES.index("LKnee")
    joints = [replace(joint, state="missing") for joint in two_people.characters[0].keypoints]
    joints[wrist] = replace(joints[wrist], x=60, y=60, state="visible")
    joints[knee] = replace(joints[knee], x=-1e5, y=-1e5, state="outside")
    request = replace(two_people, characters=(replace(two_people.characters[0], keypoints=tuple(joints)),))
    (person,) = gather_people(request)
    assert np.allclose(person.portrait_keypoints[knee], (-96, -96, 1))  # seen from the wrist


def test_far_people_come_first(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters
    legless = [replace(k, state="missing", depth=0) if place > 7 else k for place, k in enumerate(ana.keypoints)]
    pointing = [replace(k, depth=1000) if place == 4 else k for place, k in enumerate(bo.keypoints)]  # into the distance
    odd = replace(two_people, characters=(replace(bo, keypoints=tuple(pointing)), replace(ana, keypoints=tuple(legless))))
    for request in (two_people, odd):
        assert [person.character.name for person in gather_people(request)] == ["Ana", "Bo"]


def test_a_seed_of_ones_own_is_of_nobody_else(sdxl: Models, two_people: RenderRequest) -> None:
    def portraits(seed: int, anas: int | None) -> list[np.ndarray]:
        ana, bo = two_people.characters
        settings = resolve_settings(replace(two_people.settings, steps=1), sdxl.model_set)
        request = replace(two_people, seed=seed, characters=(replace(ana, seed=anas), bo), settings=settings)
        drawn = draw_people_alone(sdxl, request, gather_people(request), PromptEncoder(sdxl), Progress(Spy(), 1, 1))
        return [portrait.image for portrait in drawn]

    (ana, bo), (other_ana, same_bo), (same_ana, other_bo) = portraits(1, None), portraits(1, 2), portraits(2, 1)
    assert (bo == same_bo).all() and (ana == same_ana).all()
    assert (ana != other_ana).any() and (bo != other_bo).any()


@pytest.mark.parametrize("solver", SCHEDULERS)
def test_a_portrait_is_the_picture_that_diffusers_makes_of_the_same_noise(
    sdxl: Models, two_people: RenderRequest, solver: str
) -> None:
    """Noise as strong as the solver wants it, prompts, pose, guidance, sizes, steps and the VAE's factor."""
    settings = RenderSettings(steps=3, guidance_scale=2.0, guide_pose=False, controlnet_conditioning_scale=0.8)
    settings = resolve_settings(replace(settings, scheduler=solver), sdxl.model_set)
    request = replace(two_people, negative_prompt="blurry", settings=settings)
    portraits = draw_people_alone(sdxl, request, gather_people(request), PromptEncoder(sdxl), Progress(Spy(), 1, 1))
    pipeline = of_diffusers(StableDiffusionXLControlNetPipeline, sdxl, solver, controlnet=sdxl.controlnet)
    for portrait in portraits:
        person = portrait.person
        noise = draw_noise(request.seed, f"person {person.character.id}", (1, 4, 8, 8))
        (expected,) = pipeline(
            person.character.prompt,
            negative_prompt="blurry",
            image=as_tensor(describe_alone(sdxl, request, person, portrait.canvas_from_scene).pose()),
            num_inference_steps=3,
            guidance_scale=2.0,
            controlnet_conditioning_scale=0.8,
            latents=noise,
            output_type="np",
        ).images
        assert portrait.image.std() > 5
        assert np.abs(portrait.image - 255 * expected).max() <= 1
    assert np.abs(portraits[0].image.astype(int) - portraits[1].image).max() > 10
