"""Cut-outs land where their people stand; nearer ones cover farther ones."""

import tracemalloc
from dataclasses import replace as replaced
from itertools import pairwise

import numpy as np
import pytest
from beyondscene.backend.pipeline.composite import Collage, compose, where_free
from beyondscene.backend.pipeline.instances import Portrait, Similarity, centre
from beyondscene.backend.pipeline.segment import Cutout, draw_bones, keep_body
from beyondscene.backend.planning.people import gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.protocol import FREE, GREY, HIDDEN, KEYPOINT_NAMES, SEEN, Backdrop, RenderRequest, describe_array, is_seen
from msgspec.structs import replace

SIDE = 64
COLOURS = ((200, 30, 30), (30, 30, 200))


@pytest.fixture
def cutouts(two_people: RenderRequest) -> list[Cutout]:
    """Ana as a red, Bo as a blue block around their poses."""
    made = []
    for person, colour in zip(gather_people(two_people), COLOURS, strict=True):
        at = centre(person.keypoints, SIDE, 0.8)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[8:-8, 16:-16] = True
        image = np.where(mask[..., None], np.array(colour, np.uint8), np.uint8(255))
        made.append(Cutout(Portrait(person, at, image), mask, {"head": mask}))
    return made


def test_people_stand_where_the_request_puts_them(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    collage = compose(two_people, {}, cutouts, Size(96, 64), 1.0)
    assert collage.image.shape == (64, 96, 3)
    for figure, colour in zip(collage.figures, COLOURS, strict=True):
        rows, columns = np.nonzero(figure.mask)
        hips = figure.person.keypoints[[8, 11], :2].mean(0) / 2  # the base image has half the size of the request
        assert abs(rows.mean() - hips[1]) < 6 and abs(columns.mean() - hips[0]) < 10
        assert np.abs(collage.image[figure.mask].mean(0) - colour).max() < 40


def test_nearer_people_cover_farther_ones(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    far, near = compose(two_people, {}, cutouts, Size(96, 64), 0).figures
    alone = compose(two_people, {}, cutouts[:1], Size(96, 64), 0).figures[0]
    assert not (far.mask & near.mask).any()
    assert far.mask.sum() < alone.mask.sum()
    assert not (far.parts["head"] & near.mask).any()


def test_somebody_thin_is_not_feathered_away(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    small = Size(12, 8)
    (thin,) = compose(two_people, {}, cutouts[:1], small, 0).figures
    feathered = compose(two_people, {}, cutouts[:1], small, 4.0)
    assert thin.mask.any(0).sum() <= 5
    assert feathered.cover[thin.mask].max() > 0.6
    stout = compose(two_people, {}, cutouts[:1], Size(192, 128), 4.0)  # as soft as was asked
    assert 0.2 < stout.cover[stout.figures[0].mask].min() < 0.4


def compose_masked(request: RenderRequest, cutouts: list[Cutout], *masks: np.ndarray) -> Collage:
    """The collage of `cutouts` whose people have these masks, in the order of the request, without feathering."""
    references = [describe_array(mask) for mask in masks]
    masked = [replace(one, mask=reference) for one, reference in zip(request.characters, references, strict=True)]
    people = gather_people(replace(request, characters=tuple(masked)))
    portraits = [replaced(one.portrait, person=person) for one, person in zip(cutouts, people, strict=True)]
    cutouts = [replaced(one, portrait=portrait) for one, portrait in zip(cutouts, portraits, strict=True)]
    arrays = {reference.digest: mask for reference, mask in zip(references, masks, strict=True)}
    return compose(request, arrays, cutouts, Size(96, 64), 0)


@pytest.mark.parametrize("divisor", [1, 2, 4])
def test_people_show_where_they_are_seen_and_where_nothing_is_in_the_way(
    two_people: RenderRequest, cutouts: list[Cutout], divisor: int
) -> None:
    plain = compose(two_people, {}, cutouts, Size(96, 64), 0)
    everywhere = np.full((two_people.height // divisor, two_people.width // divisor), SEEN, np.uint8)
    nowhere, table = everywhere * 0, everywhere.copy()
    height, width = table.shape
    table[: height // 2] = FREE
    table[height // 8 : height // 2, : width // 3] = SEEN  # a body narrower than what was drawn
    table[height // 2 :] = HIDDEN
    (far,) = compose_masked(two_people, cutouts, table, nowhere).figures
    assert far.person.character.name == "Ana"  # Bo is hidden everywhere
    alone = compose(two_people, {}, cutouts[:1], Size(96, 64), 0).figures[0]
    assert (far.mask[:32] == alone.mask[:32]).all()  # hair and sleeves, which the body lacks, are not cut
    assert (far.parts["head"][:32] == alone.parts["head"][:32]).all()
    assert not far.mask[32:].any() and not far.parts["head"][32:].any()
    same = compose_masked(two_people, cutouts, everywhere, everywhere)
    assert (same.image == plain.image).all() and (same.cover == plain.cover).all()


def test_whoever_is_wholly_covered_is_not_told_of(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    ana, bo = two_people.characters
    request = replace(two_people, characters=(replace(ana, keypoints=bo.keypoints), bo))
    people = gather_people(request)
    same = [replaced(one, portrait=replaced(cutouts[0].portrait, person=who)) for one, who in zip(cutouts, people, strict=True)]
    same = [
        replaced(one, portrait=replaced(one.portrait, canvas_from_scene=cutouts[1].portrait.canvas_from_scene)) for one in same
    ]
    collage = compose(request, {}, same, Size(96, 64), 1.0)
    assert [figure.person.character.name for figure in collage.figures] == ["Bo"]
    (remark,) = collage.remarks
    assert remark.startswith("'Ana' is not in the picture, for nearer people, such as 'Bo', cover all of this person: move")
    nowhere, everywhere = (np.full((request.height, request.width), value, np.uint8) for value in (HIDDEN, SEEN))
    (remark,) = compose_masked(two_people, cutouts, nowhere, everywhere).remarks
    assert remark.startswith("'Ana' is not in the picture, for too little is seen of this person: move the rig")


def test_hair_of_the_nearer_one_falls_over_the_farther_ones_body(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    plain = compose(two_people, {}, cutouts, Size(96, 64), 0)
    seen = np.full((two_people.height, two_people.width), SEEN, np.uint8)
    far, near = compose_masked(two_people, cutouts, seen, np.minimum(seen, FREE)).figures
    assert (far.mask == plain.figures[0].mask).all() and (near.mask == plain.figures[1].mask).all()


def test_a_mask_of_two_values_cuts_at_its_edge(two_people: RenderRequest) -> None:
    mask = np.zeros((two_people.height, two_people.width), np.uint8)
    mask[:, :65] = SEEN
    share = where_free(mask, Size(96, 64))  # half the size: a pixel of the base holds the edge
    assert (share[:, :32] == 1).all() and np.allclose(share[:, 32], 0.5, atol=0.01) and (share[:, 33:] == 0).all()


def test_whoever_is_seen_nowhere_is_left_out(two_people: RenderRequest) -> None:
    ana, _ = two_people.characters
    hidden = np.full((two_people.height, two_people.width), FREE, np.uint8)  # nothing before them, but no body either
    hidden[64:] = HIDDEN
    seen = hidden.copy()
    seen[0, 0] = SEEN
    arrays = {describe_array(mask).digest: mask for mask in (hidden, seen)}
    assert not is_seen(replace(ana, mask=describe_array(hidden)), arrays)
    assert is_seen(replace(ana, mask=describe_array(seen)), arrays)
    assert is_seen(ana, {})


def test_somebody_small_is_neither_moved_nor_jagged(two_people: RenderRequest) -> None:
    """A portrait of four times the size, with a white line every three pixels."""
    mask = np.zeros((128, 128), bool)
    mask[32:96, 42:86] = True  # both sides end within a pixel of the base
    person = replaced(in_place(two_people, mask)[0], mask=mask)
    striped = np.zeros((128, 128, 3), np.uint8)
    striped[:, ::3] = 255
    portrait = replaced(person.portrait, image=striped, canvas_from_scene=Similarity(4, 0, 0))
    collage = compose(two_people, {}, [replaced(person, portrait=portrait)], Size(192, 128), 0)
    assert (collage.cover[:, :32] > 0).any() and not collage.cover[:, 32:].any()
    assert np.allclose(collage.cover[:32, :32], collage.cover[:32, :32][::-1, ::-1], atol=0.01)
    assert np.abs(collage.image[10:22, 12:20].astype(int) - 85).max() < 20


def test_no_rim_of_the_portraits_backdrop_comes_along(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    collage = compose(two_people, {}, cutouts, Size(96, 64), 1.0)
    assert collage.image.min(-1).max() < 140  # the portraits are white around their people


def test_only_the_piece_under_the_skeleton_is_kept(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints
    mask = np.zeros((128, 192), bool)
    mask[10:120, 50:90] = True
    mask[60:62, 60:62] = False  # an error of the segmenter
    mask[80:90, 80:88] = False  # seen between leg and hand
    mask[100:110, 150:170] = True  # somebody else
    kept = keep_body(mask, joints)
    assert kept[60, 60] and not kept[105, 160] and not kept[80:90, 80:88].any()


def test_a_person_whom_the_segmenter_missed_is_not_lost(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints
    kept = keep_body(np.zeros((128, 192), bool), joints)
    assert all(kept[int(y), int(x)] for x, y, _ in joints) and kept[40, 62:78].all()  # the chest, too


def test_a_limb_that_was_not_drawn_where_the_pose_has_it_brings_no_backdrop_along(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints
    whole = keep_body(np.zeros((128, 192), bool), joints)
    elbow, wrist = (joints[KEYPOINT_NAMES.index(name), :2] for name in ("RElbow", "RWrist"))
    x, y = (0.3 * elbow + 0.7 * wrist).astype(int)
    without_forearm = whole.copy()
    without_forearm[y - 6 : y + 20, x - 6 : x + 6] = False
    assert whole[y, x] and without_forearm.sum() > 0.9 * whole.sum()
    assert (keep_body(without_forearm, joints) == without_forearm).mean() > 0.999
    torn = whole.copy()
    torn[y - 1 : y + 1] = False  # a gap across forearm and body
    assert (keep_body(torn, joints) == whole).mean() > 0.999


def test_bones_are_as_thick_for_somebody_who_lies_as_for_somebody_who_stands(two_people: RenderRequest) -> None:
    standing = gather_people(two_people)[0].keypoints
    lying = standing[:, [1, 0, 2]]
    nothing = np.zeros((192, 192), bool)
    upright, flat = (keep_body(nothing, joints) for joints in (standing, lying))
    assert abs(int(upright.sum()) - int(flat.sum())) < 0.05 * upright.sum()


def test_a_person_of_whom_no_limb_is_drawn_is_not_lost(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints.copy()
    wrist, knee = KEYPOINT_NAMES.index("RWrist"), KEYPOINT_NAMES.index("LKnee")
    joints[:, 2] = 0
    joints[[wrist, knee], 2] = 1
    kept = keep_body(np.zeros((128, 192), bool), joints)
    assert all(kept[int(y), int(x)] for x, y, drawn in joints if drawn)


def test_bones_of_a_mirrored_person_are_the_mirrored_bones(two_people: RenderRequest) -> None:
    joints = gather_people(two_people)[0].keypoints.copy()
    joints[:, :2] = np.floor(joints[:, :2]) + 0.5  # the middles of pixels
    joints[:, 2] = np.arange(18) % 5 == 4  # no two of a limb, since cv2 draws lines a little askew
    mirrored = np.array((192, 0, 0)) + joints * (-1, 1, 1)
    bones, others = (np.any([*draw_bones(points, 128, 192)], 0) for points in (joints, mirrored))
    assert (bones[:, ::-1] == others).all()


def test_a_person_costs_what_they_take_of_the_picture(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    wide = replace(two_people, width=192 * 40)
    size = Size(wide.width, wide.height)
    canvas_bytes = size.width * size.height * 4  # of one channel
    tracemalloc.start()
    try:
        collage = compose(wide, {}, cutouts, size, 2.0)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 7 * canvas_bytes  # three of the image, one of the cover, a byte per pixel for each mask and channel

    # of the wide canvas what a narrow one shows, with the same rims
    narrow = compose(two_people, {}, cutouts, Size(192, 128), 2.0)
    assert (collage.image[:, :192] == narrow.image).all() and (collage.cover[:, :192] == narrow.cover).all()
    assert (collage.image[:, 192:] == GREY).all() and not collage.cover[:, 192:].any()
    for one, other in zip(collage.figures, narrow.figures, strict=True):
        assert (one.mask[:, :192] == other.mask).all() and (one.parts["head"][:, :192] == other.parts["head"]).all()


@pytest.mark.parametrize("shift_px", [-400, -130, 150, 500])
def test_whoever_stands_beyond_the_border_is_cut_there(two_people: RenderRequest, shift_px: int) -> None:
    mask = np.zeros((128, 128), bool)
    mask[20:100, 30:90] = True
    (person, _) = in_place(two_people, mask)
    moved = replaced(person, portrait=replaced(person.portrait, canvas_from_scene=Similarity(1, -shift_px, 0)))
    collage = compose(two_people, {}, [moved], Size(192, 128), 0)
    expected = np.zeros((128, 192 + 2 * 1000), bool)
    expected[:, 1000 + shift_px : 1128 + shift_px] = mask
    assert (collage.cover == expected[:, 1000:1192]).all()
    assert len(collage.figures) == expected[:, 1000:1192].any()


def test_a_backdrop_that_is_finer_than_the_base_becomes_its_mean(two_people: RenderRequest) -> None:
    striped = np.full((256, 384, 3), 200, np.uint8)
    striped[:, ::2] = 100
    image = describe_array(striped)
    request = replace(two_people, backdrop=Backdrop(image=image))
    collage = compose(request, {image.digest: striped}, [], Size(192, 128), 0)
    assert (collage.backdrop == 150).all() and (collage.show() == 150).all()


def test_pairs_of_masks_are_disjoint(two_people: RenderRequest, cutouts: list[Cutout]) -> None:
    for first, second in pairwise(compose(two_people, {}, cutouts, Size(96, 64), 1.0).figures):
        assert not (first.mask & second.mask).any()


def in_place(request: RenderRequest, mask: np.ndarray) -> list[Cutout]:
    """The people of `request` as cut-outs that stand pixel for pixel where `mask`, a square of its height, has them."""
    made = []
    for person in gather_people(request):
        colour = COLOURS[person.character.name == "Bo"]
        image = np.where(mask[..., None], np.array(colour, np.uint8), np.uint8(255))
        made.append(Cutout(Portrait(person, Similarity(1, 0, 0), image), mask, {}))
    return made


def test_without_feather_the_edge_is_hard(two_people: RenderRequest) -> None:
    mask = np.zeros((128, 128), bool)
    mask[20:100, 30:90] = True
    collage = compose(two_people, {}, in_place(two_people, mask)[:1], Size(192, 128), 0)
    assert (collage.cover[:, :128] == mask).all() and not collage.cover[:, 128:].any()
    assert (collage.image[:, :128][mask] == COLOURS[0]).all() and (collage.image[:, :128][~mask] == GREY).all()


@pytest.mark.parametrize("feather_px", [2, 4, 8])
def test_the_rim_is_soft_as_far_in_as_the_feather_is_wide(two_people: RenderRequest, feather_px: float) -> None:
    mask = np.zeros((128, 128), bool)
    mask[:, 40:120] = True
    collage = compose(two_people, {}, in_place(two_people, mask)[:1], Size(192, 128), feather_px)
    edge = collage.cover[64, 40:80]
    assert (np.diff(edge) >= 0).all() and not collage.cover[:, :40].any()
    assert 0.4 < edge[0] < 0.65 and edge[-1] == pytest.approx(1, abs=0.01)
    assert feather_px - 1 <= (edge < 0.84).sum() <= feather_px + 1  # as a blur of that sigma
    assert (collage.image[64, 40:80] == COLOURS[0]).all()  # no grey: what the rim fades into is yet to be drawn
    red = collage.show()[64, 40:80, 0].astype(float)
    assert np.abs(red - (GREY + (COLOURS[0][0] - GREY) * edge)).max() <= 1


def test_a_rim_before_somebody_fades_into_them(two_people: RenderRequest) -> None:
    """As two layers over any background do; `cover` says how much of it is left."""
    near, far = np.zeros((2, 128, 128), bool)
    near[:, 40:120], far[:, 30:48] = True, True  # so that both rims are soft in the same pixels
    behind = in_place(two_people, far)[0]
    collage = compose(two_people, {}, [behind, in_place(two_people, near)[1]], Size(192, 128), 4)
    (alone, of_far), (_, of_near) = ((one.image, one.cover[..., None]) for one in (
        compose(two_people, {}, [behind], Size(192, 128), 4),
        compose(two_people, {}, in_place(two_people, near)[1:], Size(192, 128), 4),
    ))  # fmt: skip
    white = 255.0
    expected = white + (alone - white) * of_far
    expected += (np.array(COLOURS[1]) - expected) * of_near
    shown = white + (collage.image - white) * collage.cover[..., None]
    assert 0.2 < of_far[64, 44, 0] < 0.95 and 0.2 < of_near[64, 44, 0] < 0.95
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearer_ones_pixels_are_on_top_whoever_is_listed_first(two_people: RenderRequest, order: int) -> None:
    request = replace(two_people, characters=two_people.characters[::order])
    cutouts = in_place(request, np.ones((128, 128), bool))
    wider = replaced(cutouts[0], portrait=replaced(cutouts[0].portrait, canvas_from_scene=Similarity(1, -64, 0)))
    collage = compose(request, {}, [wider, cutouts[1]], Size(192, 128), 0)
    assert (collage.image[:, :128] == COLOURS[1]).all()  # Bo, who is nearer
    assert (collage.image[:, 129:] == COLOURS[0]).all()
    far, near = collage.figures
    assert (far.person.character.name, near.person.character.name) == ("Ana", "Bo")
    assert near.mask[:, :128].all() and not far.mask[:, :128].any() and far.mask[:, 129:].all()
