"""What the metrics say of pictures whose faults are known."""

import cv2
import msgspec
import numpy as np
import pytest
from beyondscene.backend.evaluation.backdrops import classify_backdrop
from beyondscene.backend.evaluation.colours import chance_of_leaks, colour_word, leakage_matrix, to_lab
from beyondscene.backend.evaluation.fixed_scenes import FixedScene, draw_scene
from beyondscene.backend.evaluation.judge import Found
from beyondscene.backend.evaluation.keypoints import MIRRORED, joints_right, match_people, oks, torso_length
from beyondscene.backend.evaluation.measure import PlannedPoses, measure_picture, read_plan, score_pose
from beyondscene.backend.evaluation.results import PartColour, SceneScore
from beyondscene.backend.evaluation.summary import compare, interval, resampled, summarise
from beyondscene.backend.evaluation.texture import border_lines, patch_distance, seam_score, sharpness
from beyondscene.backend.mannequins.looks import GARMENT_COLOURS
from beyondscene.backend.mannequins.raster import UPPER_BODY
from beyondscene.protocol import KEYPOINT_NAMES

from .conftest import Oracle

EVERYBODY = [0, 1, 2]


def measured(scene: FixedScene, oracle: Oracle, picture: np.ndarray | None = None) -> dict:
    score = measure_picture(oracle, scene, scene.truth.picture if picture is None else picture, "test", 256)
    return summarise("test", [score])


def test_the_truth_is_perfect(scene: FixedScene) -> None:
    told = measured(scene, Oracle(scene, EVERYBODY))
    assert (told["scenes"], told["people"]) == (1, 3)
    for name in ("missing_rate", "extra_rate", "leakage_rate"):
        assert told[name] == 0, name
    for name in ("pose_pck", "pose_oks", "garment_accuracy", "hair_accuracy", "background_accuracy", "sharpness"):
        assert told[name] == pytest.approx(1, abs=0.001), name
    assert 0.7 < told["seam_score"] < 1.4
    assert set(told["ci95"]) == set(told) - {"method", "scenes", "people", "ci95"}


def test_somebody_missing_and_somebody_too_many(scene: FixedScene) -> None:
    assert measured(scene, Oracle(scene, [0, 2]))["missing_rate"] == pytest.approx(1 / 3, abs=1e-3)
    far_off = read_plan(scene).keypoints[0] + (0.5 * scene.request.width, 0)
    told = measured(scene, Oracle(scene, EVERYBODY, [far_off]))
    assert told["extra_rate"] == pytest.approx(1 / 3, abs=1e-3) and told["missing_rate"] == 0
    nobody = measured(scene, Oracle(scene, []))
    assert nobody["missing_rate"] == 1 and nobody["pose_pck"] is None and nobody["ci95"]["pose_pck"] is None


def test_front_taken_for_back_is_the_same_person_with_wrong_joints(scene: FixedScene) -> None:
    turned = read_plan(scene).keypoints[1][MIRRORED]
    told = measured(scene, Oracle(scene, [0, 2], [turned]))
    assert told["missing_rate"] == told["extra_rate"] == 0
    assert told["pose_pck"] < 0.85


def test_a_moved_limb_costs_its_joints_only(scene: FixedScene) -> None:
    plan = read_plan(scene)
    bent = plan.keypoints[1].copy()
    bent[4] += 0.5 * torso_length(bent)  # the right wrist
    told = measured(scene, Oracle(scene, [0, 2], [bent]))
    assert told["missing_rate"] == 0
    assert told["pose_pck"] == pytest.approx(1 - plan.counts[1, 4] / plan.counts.sum(), abs=1e-3)
    assert 0.9 < told["pose_oks"] < 1
    assert joints_right(bent, plan.counts[1], bent + 0.09 * torso_length(bent)) == 0  # diagonal: 0.127 of the torso
    assert joints_right(bent, plan.counts[1], bent + 0.07 * torso_length(bent)) == plan.counts[1].sum()


def test_joints_without_a_place_do_not_widen_what_counts_as_right(scene: FixedScene) -> None:
    """Those of a face that is turned away stand at 0, 0 in a request, which is far from the person."""
    plan = read_plan(scene)
    points, placed = plan.keypoints[1] + 1000, np.ones(18, bool)
    placed[[14, 16]] = False
    points[~placed] = 0
    off = points + 0.2 * torso_length(points, placed)
    assert joints_right(points, placed, off, placed) == 0 < joints_right(points, placed, off)
    placed[2] = False  # without a shoulder the body's size says how long a torso may be
    assert 0 < torso_length(points, placed) <= 0.2 * 512


def test_oks_falls_with_distance_and_rises_with_size() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (1, 18, 2))
    counts = np.ones((1, 18), bool)
    near, far = oks(points, counts, points + 2)[0, 0], oks(points, counts, points + 8)[0, 0]
    assert oks(points, counts, points)[0, 0] == 1 and 1 > near > far > 0
    assert oks(2 * points, counts, 2 * points + 4)[0, 0] == pytest.approx(near)


def test_oks_of_two_joints_by_hand() -> None:
    """The nose is 5 px off and the ankle where it should be, of somebody 100 px tall: COCO's e to the -d^2 / (2 s^2 k^2).

    s^2 is a fifth of 100^2, k twice the sigma of the nose, .026: 25 / (2 * 2000 * .052^2) = 2.3114.
    """
    planned, counts = np.zeros((1, 18, 2)), np.zeros((1, 18), bool)
    nose, ankle = KEYPOINT_NAMES.index("Nose"), KEYPOINT_NAMES.index("RAnkle")
    counts[0, [nose, ankle]] = True
    planned[0, ankle] = (0, 100)
    found = planned.copy()
    found[0, nose] = (3, 4)
    found[0, KEYPOINT_NAMES.index("LKnee")] = 1000  # does not count
    assert oks(planned, counts, found)[0, 0] == pytest.approx((np.exp(-2.3114) + 1) / 2, abs=1e-4)


def test_oks_measures_by_the_whole_body_however_little_of_it_is_seen() -> None:
    """The nose alone is seen of somebody 100 px tall, and found 5 px off: as above, and not 0, as of somebody of one point."""
    plan, nose = np.zeros((1, 18, 2)), KEYPOINT_NAMES.index("Nose")
    plan[0, KEYPOINT_NAMES.index("RAnkle")] = (0, 100)
    counts = np.zeros((1, 18), bool)
    counts[0, nose] = True
    found = Found(plan + np.array((3, 4)), np.ones(1))
    alike, _ = score_pose(PlannedPoses(plan, counts, np.ones((1, 18), bool)), 0, found, 0)
    assert alike == pytest.approx(np.exp(-2.3114), abs=1e-4)


def test_chance_of_leakage_by_hand() -> None:
    """A wrong shirt is one of the nine other words, of which two people were to have blue or green: two in nine.

    Right shirts and a garment that was not seen add nothing.
    """
    red, blue, green = ({"shirt": shirt, "trousers": "black", "hair": "brown"} for shirt in ("red", "blue", "green"))

    def part(name: str, planned: str, found: str | None) -> PartColour:
        return PartColour(part=name, planned=planned, found=found)

    wrong = [part("shirt", "red", "yellow"), part("trousers", "black", None)]
    others = [[part("shirt", "blue", "blue")], [part("shirt", "green", "green")]]
    assert chance_of_leaks([red, blue, green], [wrong, *others]) == pytest.approx(2 / 9)
    leaked = [part("shirt", "red", "blue")]
    assert chance_of_leaks([red, blue, green], [leaked, *others]) == pytest.approx(2 / 9)
    assert chance_of_leaks([red, blue, blue], [leaked, *others]) == pytest.approx(1 / 9)  # one word, whoever has it
    hair = [part("hair", "brown", "black")]
    assert chance_of_leaks([red, blue, green], [hair, [], []]) == 0  # all three were to be brown


def test_swapped_shirts_are_leakage(scene: FixedScene) -> None:
    looks = scene.looks
    first, second = next((i, j) for i in EVERYBODY for j in EVERYBODY if looks[i].shirt != looks[j].shirt)
    picture = scene.truth.picture.copy()
    for wearer, owner in ((first, second), (second, first)):
        shirt = (scene.truth.instance == wearer + 1) & (scene.truth.region == UPPER_BODY)
        picture[shirt] = np.array(GARMENT_COLOURS[looks[owner].shirt]) * 0.88
    score = measure_picture(Oracle(scene, EVERYBODY), scene, picture, "test", 256)
    told = summarise("test", [score])
    judged = sum(len(person.colours) for person in score.people)
    assert told["leakage_rate"] == pytest.approx(2 / judged, abs=1e-3)
    matrix = leakage_matrix(3, [person.colours for person in score.people], score.leaks)
    assert matrix[first, second] > 0 and matrix[second, first] > 0
    assert matrix.sum() == pytest.approx(judged)
    garments = sum(colour.part != "hair" for person in score.people for colour in person.colours)
    assert told["garment_accuracy"] == pytest.approx(1 - 2 / garments, abs=1e-3)
    assert 0 < told["leakage_by_chance"] < told["leakage_rate"]


def test_a_colour_that_nobody_was_to_have_is_wrong_but_no_leak(scene: FixedScene) -> None:
    free = next(word for word in GARMENT_COLOURS if word not in {look.shirt for look in scene.looks})
    picture = scene.truth.picture.copy()
    picture[(scene.truth.instance == 1) & (scene.truth.region == UPPER_BODY)] = np.array(GARMENT_COLOURS[free]) * 0.88
    told = measured(scene, Oracle(scene, EVERYBODY), picture)
    assert told["garment_accuracy"] < 1 and told["leakage_rate"] == 0


@pytest.mark.parametrize("word", GARMENT_COLOURS)
def test_paints_have_their_own_names(word: str) -> None:
    patch = np.full((2, 2, 3), np.array(GARMENT_COLOURS[word]) * 0.9, np.uint8)
    assert colour_word(to_lab(patch).reshape(-1, 3), "shirt") == word


def test_backgrounds_are_told_apart() -> None:
    scenes = [draw_scene(number, 64) for number in range(0, 64, 4)]
    hits = [classify_backdrop(one.truth.picture, one.truth.instance > 0) == one.truth.background for one in scenes]
    assert np.mean(hits) >= 0.9
    people, flat = np.zeros((64, 64), bool), np.full((64, 64, 3), (10, 12, 40), np.uint8)
    assert classify_backdrop(flat, people) == "night"


def test_a_blur_lowers_sharpness_and_noise_raises_it(scene: FixedScene) -> None:
    true = scene.truth.picture
    soft = cv2.GaussianBlur(true, (0, 0), 1.5)
    noisy = (true + np.random.default_rng(0).normal(0, 12, true.shape)).clip(0, 255).astype(np.uint8)
    assert sharpness(soft, true) < 0.5 < sharpness(true, true) == 1 < sharpness(noisy, true)


def test_painted_seams_are_noticed(scene: FixedScene) -> None:
    plain = scene.truth.picture
    height, width = plain.shape[:2]
    coarse, fine = border_lines(width, 256)
    assert {0, 128, 256, 384, 512} == coarse and coarse < fine
    seamed, elsewhere = plain.astype(int), plain.astype(int)
    for line in sorted(coarse - {0, width}):
        for axis in (0, 1):
            seamed.swapaxes(0, axis)[line:] += 6
            elsewhere.swapaxes(0, axis)[line + 24 :] += 6  # no view ends there
    before = seam_score(plain, 256)
    assert seam_score(seamed.clip(0, 255).astype(np.uint8), 256) > 1.5 * before
    assert seam_score(elsewhere.clip(0, 255).astype(np.uint8), 256) < 1.1 * before
    assert height == 512


def test_patch_distance_rises_with_blur_noise_and_tone_and_is_least_for_the_truth() -> None:
    def shrunk(picture: np.ndarray, times: int) -> np.ndarray:
        size = picture.shape[1::-1]
        small = cv2.resize(picture, (size[0] // times, size[1] // times), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, size, interpolation=cv2.INTER_LANCZOS4)

    def noisy(picture: np.ndarray, deviation: float) -> np.ndarray:
        return (picture + random.normal(0, deviation, picture.shape)).clip(0, 255).astype(np.uint8)

    random = np.random.default_rng(0)
    for number in (1, 4, 26):
        true = draw_scene(number, 128).truth.picture
        least, *blurred = (patch_distance(picture, true, number) for picture in (true, shrunk(true, 2), shrunk(true, 4)))
        assert 0 < 1.2 * least < blurred[0] < 0.9 * blurred[1], number
        faint, strong = (patch_distance(noisy(true, deviation), true, number) for deviation in (8, 16))
        assert 1.5 * least < faint < strong, number
        assert patch_distance((0.7 * true).astype(np.uint8), true, number) > 1.2 * least, number


def test_people_are_matched_for_the_best_sum_and_never_to_a_stranger() -> None:
    greedy_would_err = np.array([[0.9, 0.8], [0.85, 0.1]])
    assert match_people(greedy_would_err) == {0: 1, 1: 0}
    assert match_people(np.array([[0.9, 0.2], [0.1, 0.29]])) == {0: 0}
    assert match_people(np.zeros((3, 0))) == {}
    assert match_people(np.array([[0.55, 0.28], [0.29, 0.0]])) == {0: 0}  # two strangers sum to more than one who is right


def test_intervals_hold_the_value_and_narrow_with_scenes() -> None:
    random = np.random.default_rng(2)

    def width(scenes: int) -> float:
        parts = np.column_stack([random.binomial(4, 0.3, scenes), np.full(scenes, 4)]).astype(float)
        low, high = interval(resampled(parts), scenes) or (0, 0)
        assert low <= parts[:, 0].sum() / parts[:, 1].sum() <= high
        return high - low

    assert width(64) < width(8)
    assert interval(resampled(np.ones((3, 2))), 3) is None


@pytest.mark.parametrize("scenes", [4, 8, 16])
def test_equal_methods_seem_to_differ_in_one_case_of_twenty(scenes: int) -> None:
    random = np.random.default_rng(0)

    def draw() -> np.ndarray:
        shares = np.clip(0.8 + 0.15 * random.standard_normal(scenes), 0, 1)
        return resampled(np.column_stack([random.binomial(3 * people, shares), 3 * people]).astype(float))

    surely = 0
    for _ in range(300):
        people = random.integers(1, 9, scenes)
        low, high = interval(draw() - draw(), scenes) or (0, 0)
        surely += low > 0 or high < 0
    assert 0.02 < surely / 300 < 0.085


def test_scenes_that_tell_nothing_make_no_interval_surer(scene: FixedScene) -> None:
    """Of equal methods three told in five scenes seemed to differ in one case of eight, and two in one of three."""
    score = measure_picture(Oracle(scene, EVERYBODY), scene, scene.truth.picture, "test", 256)
    silent = msgspec.structs.replace(score, people=[], extra=0)
    wrong = [msgspec.structs.replace(person, joints_right=1) for person in score.people]
    ours, theirs = [score] * 3 + [silent] * 2, [msgspec.structs.replace(score, people=wrong)] * 3 + [silent] * 2
    assert summarise("", ours)["ci95"]["pose_pck"] is None and summarise("", [score] * 4)["ci95"]["pose_pck"] == [1, 1]
    told = compare(theirs, ours)["pose_pck"]
    assert told and told["difference"] < -0.5 and told["ci95"] is None


def test_paired_differences_are_sure_where_single_intervals_overlap(scene: FixedScene) -> None:
    """Scenes differ much in difficulty, and in each of them one method finds one joint more than the other."""
    score = measure_picture(Oracle(scene, EVERYBODY), scene, scene.truth.picture, "test", 256)

    def with_joints(rights: list[int]) -> list[SceneScore]:
        people = [[msgspec.structs.replace(score.people[0], joints=18, joints_right=right)] for right in rights]
        return [msgspec.structs.replace(score, people=one, extra=0) for one in people]

    rights = [4, 16, 9, 12, 6, 14, 10, 5]
    ours, theirs = with_joints(rights), with_joints([right - 1 for right in rights])
    (low, high), (their_low, their_high) = (summarise("", one)["ci95"]["pose_pck"] for one in (ours, theirs))
    assert their_low < low < their_high < high
    told = compare(theirs, ours)
    assert told["pose_pck"] == {"difference": pytest.approx(-1 / 18, abs=1e-4), "ci95": pytest.approx([-1 / 18] * 2, abs=1e-4)}
    assert told["extra_rate"] == {"difference": 0, "ci95": [0, 0]}
    uneven = compare(with_joints([right - 2 * (right > 9) for right in rights]), ours)["pose_pck"]
    assert uneven and uneven["difference"] == pytest.approx(-8 / (8 * 18), abs=1e-4)
    assert -2 / 18 <= uneven["ci95"][0] < -8 / (8 * 18) < uneven["ci95"][1] <= 0
    nobody = [msgspec.structs.replace(one, people=[msgspec.structs.replace(one.people[0], oks=None)]) for one in ours]
    assert compare(nobody, ours)["pose_pck"] is None
