"""The judge's network: what it learns, what it finds in perfect maps, and how it refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation.detect import NetJudge, decode_people, drop_doubles
from beyondscene.backend.evaluation.fixed_scenes import draw_scene
from beyondscene.backend.evaluation.judge import (
    JUDGE_FOLDER,
    Found,
    JudgeConfig,
    JudgeError,
    JudgeNet,
    Maps,
    load_net,
    save_net,
)
from beyondscene.backend.evaluation.judge_data import MOST_PEOPLE, SIDE_PX, Sample, draw_samples, spoil
from beyondscene.backend.evaluation.keypoints import MIRRORED, joints_right, match_people, oks
from beyondscene.backend.evaluation.measure import measure_picture
from beyondscene.backend.evaluation.measure_judge import draw_true_crowds, measure_judge
from beyondscene.backend.evaluation.summary import summarise
from beyondscene.backend.evaluation.train_judge import JudgeSettings, judge_loss, make_targets, prefetch, train_judge
from beyondscene.backend.mannequins.raster import REGIONS
from beyondscene.backend.mannequins.scenes import draw_view
from beyondscene.backend.training.runs import RunError, alone_in
from beyondscene.backend.training.under_way import OutOfTime

from .conftest import CPU, TINY_JUDGE

SETTINGS = JudgeSettings(config=TINY_JUDGE, steps=4, batch=2)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [sample for step in range(4) for sample in draw_samples(step, 3, seed=5)]


def perfect_maps(samples: list[Sample]) -> Maps:
    targets = make_targets(samples, CPU)
    regions = torch.nn.functional.one_hot(targets.regions[:, ::4, ::4], len(REGIONS)).permute(0, 3, 1, 2) * 40.0
    return Maps(torch.logit(targets.people.clamp(1e-5, 1 - 1e-5)), targets.offsets, regions)


def test_samples_are_repeatable_and_agree_with_their_masks(samples: list[Sample]) -> None:
    again = draw_samples(1, 3, seed=5)
    assert all(np.array_equal(one.picture, two.picture) for one, two in zip(samples[3:6], again, strict=True))
    assert not np.array_equal(draw_samples(1, 1, seed=6)[0].picture, again[0].picture)
    assert {sample.picture.shape for sample in samples} == {(SIDE_PX, SIDE_PX, 3)}
    assert max(int(sample.there.sum()) for sample in samples) > 3 and samples[0].joints.shape == (MOST_PEOPLE, 18, 3)
    for sample in samples:
        seen = sample.joints[sample.there & True]
        x, y = seen[seen[..., 2] > 0][:, :2].astype(int).T
        assert len(x) == 0 or np.mean(sample.regions[y, x] > 0) > 0.7


def test_spoilt_pictures_lose_detail() -> None:
    picture = draw_samples(0, 1, seed=9)[0].picture
    spoilt = [spoil(picture, np.random.default_rng(seed)) for seed in range(20)]
    changed = [not np.array_equal(one, picture) for one in spoilt]
    assert 10 <= sum(changed) < 20
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in spoilt)


def test_everybody_is_found_in_perfect_maps(samples: list[Sample]) -> None:
    planned = right = joints = 0
    for sample in samples:
        found = drop_doubles(*decode_people(perfect_maps([sample])))
        people = sample.joints[sample.there]
        counts = people[..., 2] > 0
        matches = match_people(oks(people[..., :2], counts, found.keypoints))
        assert len(matches) >= len(people) - 1 and len(found.scores) == len(matches)
        planned += len(people)
        right += sum(joints_right(people[a, :, :2], counts[a], found.keypoints[b]) for a, b in matches.items())
        joints += int(counts.sum())
    assert planned > 20 and right / joints > 0.9


def test_loss_is_least_for_perfect_maps(samples: list[Sample]) -> None:
    targets, maps = make_targets(samples[:4], CPU), perfect_maps(samples[:4])
    worse = Maps(maps.people.roll(5, 3), maps.offsets + 1, maps.regions.roll(1, 1))
    assert judge_loss(maps, targets) < 0.6  # regions are a quarter as fine
    assert judge_loss(worse, targets) > judge_loss(maps, targets) + 2


def test_doubles_from_two_scales_are_one_person() -> None:
    person = np.random.default_rng(0).uniform(0, 100, (18, 2))
    turned = person[MIRRORED] + 1  # front taken for back
    found = drop_doubles(np.stack([person, person + 300, person + 1, turned]), np.array([0.9, 0.6, 0.95, 0.9]))
    assert len(found.scores) == 2 and found.scores.tolist() == [0.9, 0.6]
    assert np.array_equal(found.keypoints[0], person)


def test_the_judge_in_the_repository_finds_people_in_true_renders() -> None:
    judge = NetJudge(JUDGE_FOLDER, CPU)
    scenes = [draw_scene(number, 256) for number in (3, 12, 27)]
    scores = [measure_picture(judge, scene, scene.truth.picture, "truth", 256) for scene in scenes]
    told = summarise("truth", scores)
    assert told["people"] == 13 and told["missing_rate"] <= 0.1 and told["extra_rate"] <= 0.1
    assert told["pose_pck"] > 0.5 and told["garment_accuracy"] > 0.85
    empty = [draw_view(np.random.default_rng([2, seed]), 256, "empty").picture for seed in range(8)]
    assert sum(len(judge.people(picture).scores) for picture in empty) == 0


def given(samples: list[Sample]) -> Callable[[int, JudgeSettings], Iterator[list[Sample]]]:
    return lambda first, settings: (samples[2 * step : 2 * step + 2] for step in range(first, settings.steps))


def test_training_resumes_exactly_and_its_net_is_small_and_loads(samples: list[Sample], tmp_path: Path) -> None:
    def train(folder: str, time_left_s: Callable[[], float] = lambda: 1.0) -> JudgeNet:
        return train_judge(SETTINGS, tmp_path / folder, CPU, given(samples), lambda _: None, time_left_s)

    whole = train("whole")
    left = iter((1.0, -1.0))
    with pytest.raises(OutOfTime):
        train("parts", lambda: next(left))
    parts = train("parts")
    for one, two in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.allclose(one, two, atol=3e-4)
    fewer = train_judge(msgspec.structs.replace(SETTINGS, steps=1), tmp_path / "parts", CPU, given(samples), print, lambda: 1.0)
    assert fewer.config.steps == parts.config.steps == SETTINGS.steps > 1  # those that were taken, whatever is asked for now
    for other, told in ({"batch": 3}, "batch = 2, but now it is 3"), ({"seed": 1}, "seed = 77, but now it is 1"):
        with pytest.raises(RunError, match=f"parts is of a run with {told}"):
            another = msgspec.structs.replace(SETTINGS, **other)
            train_judge(another, tmp_path / "parts", CPU, given(samples), lambda _: None, lambda: -1.0)
    with alone_in(tmp_path / "parts"), pytest.raises(RunError, match="Another process is at work in"):
        train("parts")
    save_net(parts, tmp_path / "judge")
    judge = NetJudge(tmp_path / "judge", CPU)
    picture = np.random.default_rng(0).integers(0, 256, (200, 330, 3), np.uint8)
    nobody = np.zeros(picture.shape[:2], np.uint8)
    assert judge.regions(picture, nobody).shape == (200, 330) and judge.people(picture).keypoints.shape[1:] == (18, 2)


def test_samples_come_in_order_from_other_processes() -> None:
    settings = msgspec.structs.replace(SETTINGS, steps=3, batch=1)
    drawn = list(prefetch(1, settings))
    expected = [draw_samples(step, 1, settings.seed) for step in (1, 2)]
    assert len(drawn) == 2
    assert all(np.array_equal(one[0].picture, two[0].picture) for one, two in zip(drawn, expected, strict=True))


def test_full_size_is_under_four_megabytes(tmp_path: Path) -> None:
    save_net(JudgeNet(JudgeConfig()), tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 4_000_000


def test_surroundings_do_not_change_what_is_seen(judge_folder: Path) -> None:
    net, _ = load_net(judge_folder, CPU)
    picture = torch.rand(1, 3, 256, 512)
    other = picture.clone()
    other[..., 480:] = 0
    one, two = net(picture).people, net(other).people
    assert torch.allclose(one[..., :16], two[..., :16], atol=1e-4) and not torch.allclose(
        one[..., 120:], two[..., 120:], atol=1e-4
    )


def test_bad_judges_are_named(judge_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"holds no judge: config\.json is missing\. Train one with"):
        load_net(tmp_path, CPU)
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(JudgeConfig()))
    with pytest.raises(JudgeError, match=r"model\.safetensors is missing"):
        load_net(tmp_path, CPU)
    weights = (judge_folder / "model.safetensors").read_bytes()
    for held in (weights, weights[:-9]):
        (tmp_path / "model.safetensors").write_bytes(held)
        with pytest.raises(JudgeError, match="does not fit its config"):
            load_net(tmp_path, CPU)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(JudgeError, match="is not a judge's"):
        load_net(tmp_path, CPU)


def test_trust_in_the_judge_is_measured_on_people_it_has_to_find() -> None:
    judge = NetJudge(JUDGE_FOLDER, CPU)
    measured = measure_judge(judge, crowds=3)
    assert measured["people"] == 1 + 2 + 3 and measured["missing"] < 0.5 and measured["pck"] > 0.4
    judge.people = lambda picture: Found(np.zeros((2, 18, 2)), np.ones(2))  # type: ignore[method-assign]
    assert measure_judge(judge, crowds=3) == {"crowds": 3, "people": 6, "missing": 1.0, "extra": 1.0, "pck": 0.0}
    pictures = [picture for picture, _, _ in draw_true_crowds(2)]
    assert [picture.shape for picture in pictures] == [(512, 512, 3), (512, 1024, 3)]
