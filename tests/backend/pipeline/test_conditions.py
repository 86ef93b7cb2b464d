"""Each view is told about the people in it, and about nobody else."""

import tracemalloc
from dataclasses import replace as exchange
from functools import partial

import numpy as np
import pytest
from beyondscene.backend.pipeline.conditions import describe_views, enlarge_pose, may_show, to_grid
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.planning.views import View
from beyondscene.protocol import (
    KEYPOINT_NAMES,
    ArrayRef,
    Backdrop,
    Character,
    HiddenJoints,
    Keypoint,
    Lora,
    ModelSetInfo,
    RenderRequest,
)
from beyondscene.protocol.emphasis import read_emphasis
from msgspec.structs import replace

LEFT, RIGHT = (0, 0), (0, 16)
drawing = partial(ModelSetInfo, name="any", training_resolution_px=256)


@pytest.fixture
def figures(two_people: RenderRequest) -> list[Figure]:
    """Ana in the left third of the picture, Bo in the right third, masks in 192x128."""
    figures = []
    for person, columns in zip(gather_people(two_people), (slice(0, 64), slice(128, 192)), strict=True):
        mask = np.zeros((128, 192), bool)
        mask[:, columns] = True
        figures.append(Figure(person, mask, {"head": mask & (np.arange(128) < 40)[:, None]}))
    return figures


def prompts(request: RenderRequest, figures: list[Figure]) -> list[str]:
    """Of a left, a right and a middle view of 64 px."""
    views = [LEFT, RIGHT, (4, 8)]
    conditions = describe_views(request, figures, Size(192, 128), views, 64, 8, 2)
    assert all(condition.pose().shape == (64, 64, 3) for condition in conditions)
    return [condition.prompt for condition in conditions]


def test_a_view_within_a_body_is_not_empty(two_people: RenderRequest, figures: list[Figure]) -> None:
    """A mask may fill a view that no limb crosses: the inside of a coat, seen close."""
    left, right = describe_views(replace(two_people, characters=()), [], Size(192, 128), [LEFT, RIGHT], 64, 8, 2)
    assert left.empty and right.empty
    person = replace_joints(figures[0])
    within, elsewhere = describe_views(two_people, [person], Size(192, 128), [LEFT, RIGHT], 64, 8, 2)
    assert not within.pose().any() and not within.empty
    assert elsewhere.empty


def test_a_view_is_empty_where_nobodys_mask_is_whosever_text_it_is_told(
    two_people: RenderRequest, figures: list[Figure]
) -> None:
    sliver, between = (0, 7), (4, 8)  # an eighth of the first view is Ana, nothing of the second is anybody

    def empty(**settings: object) -> list[bool]:
        request = replace(two_people, settings=replace(two_people.settings, **settings))
        return [one.empty for one in describe_views(request, figures, Size(192, 128), [sliver, between], 64, 8, 2)]

    assert empty() == empty(min_overlap=0.5) == empty(view_prompts="everybody") == [False, True]


def replace_joints(figure: Figure) -> Figure:
    """The same mask with all joints below the frame."""
    below = figure.person.keypoints + np.array((0, 4000, 0))
    return exchange(figure, person=exchange(figure.person, keypoints=below))


def test_prompts_are_those_of_the_people_in_view(two_people: RenderRequest, figures: list[Figure]) -> None:
    assert prompts(two_people, figures) == [
        "a city plaza, a person with a red shirt",
        "a city plaza, a person with a blue shirt",
        "a city plaza",
    ]


def test_the_style_is_said_everywhere_once(two_people: RenderRequest, figures: list[Figure]) -> None:
    assert prompts(replace(two_people, style="oil painting"), figures) == [
        "a city plaza, a person with a red shirt, oil painting",
        "a city plaza, a person with a blue shirt, oil painting",
        "a city plaza, oil painting",
    ]


def test_no_emphasis_goes_from_one_text_to_another(two_people: RenderRequest, figures: list[Figure]) -> None:
    told = [with_texts(figures[0], ":3)"), figures[1]]
    request = replace(two_people, prompt="a plaza (far", style="sharp at 16:9)", negative_prompt="sad :(")
    (view,) = describe_views(request, told, Size(192, 128), [LEFT], 64, 8, 2)
    assert read_emphasis(view.prompt) == [("a plaza (far, a person with a red shirt, sharp at 16:9)", 1)]
    assert read_emphasis(view.negative_prompt) == [("sad :(, :3)", 1)]


def test_algorithm_3_leaves_the_scene_out_where_people_are(two_people: RenderRequest, figures: list[Figure]) -> None:
    request = replace(two_people, settings=replace(two_people.settings, prepend_global=False))
    assert prompts(request, figures) == ["a person with a red shirt", "a person with a blue shirt", "a city plaza"]


def test_parts_speak_where_they_are(two_people: RenderRequest, figures: list[Figure]) -> None:
    ana = replace(figures[0].person.character, part_prompts={"head": "red lips"}, loras=(Lora(name="ana"),))
    told = [Figure(replace_character(figures[0], ana), figures[0].mask, figures[0].parts), figures[1]]
    top, bottom = describe_views(two_people, told, Size(192, 128), [(0, 0), (8, 0)], 64, 8, 2)
    assert "red lips" in top.prompt and "red lips" not in bottom.prompt
    assert top.loras == bottom.loras == (("ana", 1.0),)  # her head is nobody else


def replace_character(figure: Figure, character):  # noqa: ANN001, ANN201
    from dataclasses import replace as replace_fields

    return replace_fields(figure.person, character=character)


def test_negative_prompts_follow_their_people(two_people: RenderRequest, figures: list[Figure]) -> None:
    bo = replace(figures[1].person.character, negative_prompt="hat")
    told = [figures[0], Figure(replace_character(figures[1], bo), figures[1].mask, {})]
    request = replace(two_people, negative_prompt="blurry")
    left, right = describe_views(request, told, Size(192, 128), [LEFT, RIGHT], 64, 8, 2)
    assert (left.negative_prompt, right.negative_prompt) == ("blurry", "blurry, hat")


def test_skeletons_are_drawn_where_the_people_are(two_people: RenderRequest, figures: list[Figure]) -> None:
    whole = describe_views(two_people, figures, Size(192, 128), [(y, x) for y in (0, 8) for x in (0, 8, 16)], 64, 8, 2)
    lit = np.array([condition.pose().any() for condition in whole]).reshape(2, 3)
    assert lit[:, :2].all() and not lit[:, 2].any()  # both stand in the left two thirds


def test_enlarged_skeletons_lie_where_the_redrawn_ones_do_with_wider_lines(
    two_people: RenderRequest, figures: list[Figure]
) -> None:
    large, views = Size(768, 512), [(0, 16), (8, 24)]  # four times the base of 128x192, in a view of 128 px

    def drawn(pose_at_levels: str) -> list[np.ndarray]:
        request = replace(two_people, settings=replace(two_people.settings, pose_at_levels=pose_at_levels))
        return [condition.pose() for condition in describe_views(request, figures, large, views, 128, 8, 2)]

    for thin, wide in zip(drawn("redrawn"), drawn("upscaled"), strict=True):
        assert thin.any() and (wide.max(-1) > 60).sum() > 1.5 * (thin.max(-1) > 60).sum()
        assert (wide.max(-1)[thin.max(-1) > 100] > 20).mean() > 0.95
    joint = np.array([[64.0, 48.0, 1]] + [[0.0, 0, 0]] * 17)
    light = enlarge_pose([joint], 128, 4, 4.0).max(-1).astype(float)
    rows, columns = np.indices(light.shape) + 0.5
    assert [(light * at).sum() / light.sum() for at in (columns, rows)] == pytest.approx([64, 48], abs=0.25)


def test_no_view_keeps_a_picture_of_its_skeletons(two_people: RenderRequest, figures: list[Figure]) -> None:
    """SDXL's have 3 MB each, and a canvas of 16384x16384 has thousands of views with people."""
    large, views = Size(3072, 2048), [(y, x) for y in range(0, 128, 32) for x in range(0, 128, 16)]
    tracemalloc.start()
    try:
        conditions = describe_views(two_people, figures, large, views, 512, 8, 2)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    posed = [condition for condition in conditions if condition.pose().any()]
    assert len(posed) > 10 and kept_bytes < 0.1 * len(posed) * posed[0].pose().nbytes


@pytest.mark.parametrize("growth", [1.0, 3.5])
def test_nobody_is_passed_over_of_whom_a_view_shows_anything(growth: float) -> None:
    random, width = np.random.default_rng(0), 4
    for_nothing = 0
    for _ in range(1000):
        person = np.column_stack([random.uniform(-60, 124, 2) + random.uniform(-20, 20, (18, 2)), random.random(18) < 0.3])
        shows, may = bool(enlarge_pose([person], 64, width, growth).any()), may_show(person, 64, (width + 2) * growth)
        assert may or not shows
        for_nothing += may and not shows
    assert for_nothing < 300


def test_thin_limbs_survive_the_latent_grid() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:50, 33] = True
    assert to_grid(mask, 8, 8)[1:7, 4].all()
    assert to_grid(mask, 128, 128)[20:100, 66:68].all()


def test_hands_are_in_the_skeletons_of_models_that_know_them(two_people: RenderRequest) -> None:
    ana = two_people.characters[0]
    wrist = ana.keypoints[KEYPOINT_NAMES.index("RWrist")]
    hand = tuple(replace(wrist, x=wrist.x + 1.5 * (number % 4), y=wrist.y + number) for number in range(21))
    request = replace(two_people, characters=(replace(ana, right_hand=hand),))

    def drawn(hands: bool) -> np.ndarray:
        people = gather_people(request, drawing(pose_hands=hands))
        figures = [Figure(person, np.ones((128, 192), bool), {}) for person in people]
        return describe_views(request, figures, Size(384, 256), [LEFT], 256, 8, 4)[0].pose()

    np.testing.assert_array_equal(drawn(False), describe_without_hands(request))
    assert (drawn(True) != drawn(False)).any()


def test_faces_are_in_the_skeletons_of_models_that_know_them_as_far_as_they_are_seen(two_people: RenderRequest) -> None:
    ana = two_people.characters[0]
    nose = ana.keypoints[KEYPOINT_NAMES.index("Nose")]
    face = tuple(replace(nose, x=nose.x + number % 10, y=nose.y + number // 10 * 2) for number in range(70))
    hidden = tuple(replace(point, state="occluded") for point in face)

    def drawn(points: tuple[Keypoint, ...], face: bool) -> np.ndarray:
        request = replace(two_people, characters=(replace(ana, face=points),))
        figures = [Figure(person, np.ones((128, 192), bool), {}) for person in gather_people(request, drawing(pose_face=face))]
        return describe_views(request, figures, Size(384, 256), [LEFT], 256, 8, 4)[0].pose()

    white = (drawn(face, True) == 255).all(-1)
    assert white.any() and not (drawn(face, False) == 255).all(-1).any()
    np.testing.assert_array_equal(drawn(hidden, True), drawn(face, False))
    (person,) = gather_people(
        replace(two_people, characters=(replace(ana, face=face, right_hand=face[:21]),)), drawing(pose_feet=True)
    )
    assert not person.keypoints[18:130, 2].any()  # nor in those of models that know feet alone


def test_joints_that_others_hide_are_kept_darkened_or_left_out(two_people: RenderRequest) -> None:
    ana = two_people.characters[0]
    knee, wrist = KEYPOINT_NAMES.index("RKnee"), KEYPOINT_NAMES.index("LWrist")
    joints = list(ana.keypoints)
    joints[knee] = replace(joints[knee], state="occluded", hidden_by="prop")
    joints[wrist] = replace(joints[wrist], state="occluded", hidden_by="own_body")  # which is drawn in any case
    ana = replace(ana, keypoints=tuple(joints))
    nowhere = replace(ana, keypoints=(*joints[:knee], replace(joints[knee], state="missing"), *joints[knee + 1 :]))

    def drawn(ana: Character, hidden_joints: HiddenJoints) -> np.ndarray:
        settings = replace(two_people.settings, hidden_joints=hidden_joints)
        request = replace(two_people, characters=(ana,), settings=settings)
        figures = [Figure(person, np.ones((128, 192), bool), {}) for person in gather_people(request)]
        return describe_views(request, figures, Size(384, 256), [LEFT], 256, 8, 4)[0].pose()

    kept, dim, dropped = (drawn(ana, policy) for policy in ("keep", "dim", "drop"))
    np.testing.assert_array_equal(kept, drawn(two_people.characters[0], "drop"))  # nothing is hidden there
    np.testing.assert_array_equal(dropped, drawn(nowhere, "keep"))
    changed = (dim != kept).any(-1)
    assert changed.any() and (dim[changed] <= kept[changed]).all() and dim[changed].any()
    assert ((dropped != kept).any(-1) == changed).mean() > 0.995


def test_the_far_side_of_a_head_is_left_out_as_a_detector_does_alone_and_among_others(two_people: RenderRequest) -> None:
    ana = two_people.characters[0]
    away = [KEYPOINT_NAMES.index(name) for name in ("Nose", "REye", "LEye")]
    joints = [
        replace(joint, state="occluded", hidden_by="own_head") if number in away else joint
        for number, joint in enumerate(ana.keypoints)
    ]
    (person,) = gather_people(replace(two_people, characters=(replace(ana, keypoints=tuple(joints)),)))
    assert (person.keypoints[:, 2] == 1).all()  # boxes and parts still know where the face would be
    for seen in (person.alone, person.among_others):
        assert np.flatnonzero(seen("drop")[:, 2] == 0).tolist() == sorted(away)
        assert (seen("keep")[:, 2] == 1).all()


def test_a_person_drawn_alone_is_whole_whoever_stands_before_them(two_people: RenderRequest) -> None:
    hidden = tuple(replace(joint, state="occluded", hidden_by="character") for joint in two_people.characters[0].keypoints)
    ana = replace(two_people.characters[0], keypoints=hidden)
    (person,) = gather_people(replace(two_people, characters=(ana,)))
    assert (person.keypoints[:, 2] == 1).all() and not person.among_others("drop")[:, 2].any()
    assert (person.among_others("keep") == person.keypoints).all() and (person.alone("drop") == person.keypoints).all()


def test_joints_behind_what_a_backdrop_shows_are_left_out_among_others(two_people: RenderRequest) -> None:
    """Kept, they would draw legs in front of the wall that hides them."""
    ana, bo = two_people.characters
    hiders = dict.fromkeys((8, 9, 10), "prop") | {4: "character"}
    joints = [
        replace(joint, state="occluded", hidden_by=hiders[number]) if number in hiders else joint
        for number, joint in enumerate(ana.keypoints)
    ]
    image = ArrayRef(digest="0" * 64, dtype="uint8", shape=(128, 192, 3))
    request = replace(two_people, characters=(replace(ana, keypoints=tuple(joints)), bo))
    for backdrop, gone in ((None, []), (Backdrop(image=image), [8, 9, 10])):
        person = gather_people(replace(request, backdrop=backdrop))[0]
        assert np.flatnonzero(person.among_others("keep")[:, 2] == 0).tolist() == gone
        assert person.alone("keep")[:, 2].all() and person.keypoints[:, 2].all()


def test_the_nearer_skeleton_covers_the_farther_one_whatever_their_order(two_people: RenderRequest) -> None:
    ana, bo = two_people.characters
    near = replace(ana, keypoints=tuple(replace(joint, depth=2.0) for joint in ana.keypoints))
    far = replace(bo, keypoints=tuple(replace(joint, depth=9.0) for joint in ana.keypoints[::-1]))  # across her

    def drawn(*characters: Character) -> np.ndarray:
        request = replace(two_people, characters=characters)
        figures = [Figure(person, np.ones((128, 192), bool), {}) for person in gather_people(request)]
        return describe_views(request, figures, Size(384, 256), [LEFT], 256, 8, 4)[0].pose()

    alone, inside = drawn(near), np.isin(drawn(near).max(-1), (153, 255))  # limbs and discs, without their rims
    np.testing.assert_array_equal(drawn(near, far), drawn(far, near))
    assert drawn(far)[inside].any() and np.isclose(drawn(far, near)[inside], alone[inside], atol=2).mean() > 0.99


def describe_without_hands(request: RenderRequest) -> np.ndarray:
    bare = replace(request, characters=tuple(replace(one, right_hand=None) for one in request.characters))
    figures = [Figure(person, np.ones((128, 192), bool), {}) for person in gather_people(bare, drawing(pose_hands=True))]
    return describe_views(bare, figures, Size(384, 256), [LEFT], 256, 8, 4)[0].pose()


ANA, BO = "a person with a red shirt", "a person with a blue shirt"


def told(request: RenderRequest, figures: list[Figure], *views: View, **settings: object) -> list[tuple[str, str]]:
    """Prompt and negative prompt of each view of 64 px, with Ana in columns 0 to 7 of 24 and Bo in 16 to 23."""
    request = replace(request, settings=replace(request.settings, **settings))
    return [
        (one.prompt, one.negative_prompt) for one in describe_views(request, figures, Size(192, 128), list(views), 64, 8, 2)
    ]


def with_texts(figure: Figure, negative: str = "", **parts: str) -> Figure:
    character = replace(figure.person.character, negative_prompt=negative, part_prompts=parts)
    return Figure(replace_character(figure, character), figure.mask, figure.parts)


@pytest.mark.parametrize(("prepend_global", "everybody"), [(True, f"a city plaza, {ANA}, {BO}"), (False, f"{ANA}, {BO}")])
def test_every_view_is_told_of_everybody_where_the_request_says_so(
    two_people: RenderRequest, figures: list[Figure], prepend_global: bool, everybody: str
) -> None:
    ana, bo = with_texts(figures[0], "hat"), with_texts(figures[1], "beard")
    request = replace(two_people, negative_prompt="blurry")
    views = [LEFT, (4, 8), RIGHT]
    said = told(request, [ana, bo], *views, view_prompts="everybody", prepend_global=prepend_global)
    assert said == [(everybody, "blurry, hat, beard")] * 3
    all_the_same = {"view_prompts": "everybody", "prepend_global": prepend_global, "min_overlap": 0.5}
    assert told(request, [ana, bo], *views, **all_the_same) == said
    settings = replace(request.settings, view_prompts="everybody")
    here, nobody, there = describe_views(replace(request, settings=settings), [ana, bo], Size(192, 128), views, 64, 8, 2)
    present = describe_views(request, [ana, bo], Size(192, 128), views, 64, 8, 2)
    for one, other in zip((here, nobody, there), present, strict=True):
        np.testing.assert_array_equal(one.pose(), other.pose())  # the pose is that of the view all the same


def test_people_are_named_from_left_to_right_whoever_is_nearer(two_people: RenderRequest, figures: list[Figure]) -> None:
    (person, bo), mask = figures, np.zeros((128, 192), bool)
    mask[:, 80:] = True  # Ana, who is farther, in the middle and on the right
    ana = Figure(person.person, mask, {})
    bo = Figure(bo.person, ~mask, {})
    assert told(two_people, [ana, bo], (0, 6)) == [(f"a city plaza, {BO}, {ANA}", "")]
    assert told(two_people, [ana, bo], (0, 6), prepend_global=False) == [(f"{BO}, {ANA}", "")]


def test_whoever_has_no_more_than_the_least_share_of_a_view_is_not_in_it(
    two_people: RenderRequest, figures: list[Figure]
) -> None:
    nobody, present = [("a city plaza", "")], [(f"a city plaza, {ANA}", "")]
    quarter, sliver = (0, 6), (0, 7)  # two of Ana's columns in a view of eight, and one
    assert told(two_people, figures, quarter, min_overlap=0.25) == nobody
    assert told(two_people, figures, quarter, min_overlap=0.24) == present
    assert told(two_people, figures, sliver, min_overlap=0.13) == nobody
    assert told(two_people, figures, sliver) == present
    assert told(two_people, figures, LEFT, min_overlap=1.0) == nobody


def test_parts_speak_after_their_person_and_only_in_views_that_hold_them(
    two_people: RenderRequest, figures: list[Figure]
) -> None:
    ana = with_texts(figures[0], "hat", head="red lips", hands=" ", feet="red boots")  # of feet there is no mask
    top, bottom, right = told(two_people, [ana, figures[1]], LEFT, (8, 0), RIGHT)
    assert top == (f"a city plaza, {ANA}, red lips", "hat")  # her negative prompt is said once
    assert bottom == (f"a city plaza, {ANA}", "hat")
    assert right == (f"a city plaza, {BO}", "")
    assert told(two_people, [ana], (4, 0), min_overlap=0.2) == [(f"a city plaza, {ANA}", "hat")]  # an eighth is head


def test_a_part_follows_its_own_person_wherever_it_is_and_whoever_is_beside_it(
    two_people: RenderRequest, figures: list[Figure]
) -> None:
    (ana, bo), columns = figures, np.arange(192)
    masks = [np.broadcast_to((columns >= left) & (columns < right), (128, 192)) for left, right in ((0, 40), (16, 32))]
    bo = Figure(bo.person, masks[1], {})
    for head in (slice(0, 8), slice(32, 40)):  # left of her own middle, and right of Bo
        of_head = np.zeros((128, 192), bool)
        of_head[:, head] = True
        her = with_texts(Figure(ana.person, masks[0] & ~masks[1], {"head": of_head}), head="red lips")
        for present in ([her, bo], [bo, her]):
            (prompt, _), *_ = told(two_people, present, LEFT)
            assert prompt == f"a city plaza, {ANA}, red lips, {BO}"


def test_negative_prompts_are_the_scenes_and_those_of_who_is_there_each_once(
    two_people: RenderRequest, figures: list[Figure]
) -> None:
    mine = [with_texts(figures[0], "hat"), with_texts(figures[1], "blurry")]
    request = replace(two_people, negative_prompt="blurry")
    views = (LEFT, (4, 8), RIGHT)
    assert [negative for _, negative in told(request, mine, *views)] == ["blurry, hat", "blurry", "blurry"]
    request = replace(two_people, negative_prompt=" ")
    assert [negative for _, negative in told(request, mine, *views)] == ["hat", "", "blurry"]
    assert [negative for _, negative in told(request, mine, *views, prepend_global=False)] == ["hat", "", "blurry"]
