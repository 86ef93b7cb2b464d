"""The judge of public models, with the same classes at toy size."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from beyondscene.backend.evaluation import public
from beyondscene.backend.evaluation.clip import load_local
from beyondscene.backend.evaluation.detect import NetJudge
from beyondscene.backend.evaluation.fixed_scenes import FixedScene, FixedScenes
from beyondscene.backend.evaluation.judge import JudgeError
from beyondscene.backend.evaluation.measure import measure_picture
from beyondscene.backend.evaluation.public import PublicJudge, PublicModels
from beyondscene.backend.evaluation.run import evaluate
from beyondscene.backend.evaluation.summary import summarise
from beyondscene.backend.mannequins.raster import REGIONS
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import ModelSet, ModelSetError
from beyondscene.protocol import KEYPOINT_NAMES, RenderSettings
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, SegformerConfig, SegformerForSemanticSegmentation
from transformers.models.rt_detr import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
from transformers.models.vitpose import VitPoseConfig, VitPoseForPoseEstimation
from transformers.models.vitpose_backbone import VitPoseBackboneConfig

from ...tiny import make_text_config, make_tokenizer
from ..pipeline.test_render import Spy
from .conftest import CPU

CLOTHES = {0: "Background", 1: "Hair", 2: "Upper-clothes", 3: "Pants"}


def save_detector(folder: Path) -> None:
    maps: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    stages = RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic", **maps)
    config = RTDetrConfig(
        backbone_config=stages, encoder_hidden_dim=16, encoder_in_channels=[8] * 3, encoder_ffn_dim=16,
        encoder_attention_heads=2, encoder_layers=1, d_model=16, num_queries=5, decoder_in_channels=[16] * 3,
        decoder_ffn_dim=16, decoder_layers=1, decoder_attention_heads=2, num_denoising=0,
        id2label={0: "bicycle", 1: "person"}, label2id={"bicycle": 0, "person": 1},
    )  # fmt: skip
    RTDetrForObjectDetection(config).save_pretrained(folder)


def save_pose(folder: Path) -> None:
    maps: dict[str, Any] = {"out_features": ["stage1"]}
    backbone = VitPoseBackboneConfig(
        image_size=[256, 192], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2, **maps
    )
    joints = {number: str(number) for number in range(17)}
    config = VitPoseConfig(backbone_config=backbone, id2label=joints, label2id={name: i for i, name in joints.items()})
    VitPoseForPoseEstimation(config).save_pretrained(folder)


def save_clothes(folder: Path) -> None:
    config = SegformerConfig(
        hidden_sizes=[8] * 4, depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8,
        id2label=CLOTHES, label2id={name: i for i, name in CLOTHES.items()},
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder)


def save_clip(folder: Path, image_size: int = 224) -> None:
    tokenizer = make_tokenizer()
    sight = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=image_size, patch_size=32
    )
    config = CLIPConfig(text_config=make_text_config(tokenizer).to_dict(), vision_config=sight.to_dict(), projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> PublicModels:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("public")
    for name, save in (("detector", save_detector), ("pose", save_pose), ("clothes", save_clothes), ("clip", save_clip)):
        save(root / name)
    save_clip(root / "preference", image_size=64)
    return PublicModels(**{name: str(root / name) for name in ("detector", "pose", "clothes", "clip", "preference")})


def test_judges_a_scene_with_scores_for_texts(folders: PublicModels, scene: FixedScene) -> None:
    judge = PublicJudge(folders, CPU)
    score = measure_picture(judge, scene, scene.truth.picture, "truth", 256)
    assert score.clip is not None and -1 <= score.clip <= 1
    assert len({person.clip for person in score.people}) == 3  # each crop against its own words
    assert judge.notes == () and score.preference is not None and score.preference != score.clip
    known = {0, *(REGIONS.index(n) for n in ("hair", "upper_body", "lower_body"))}
    assert set(np.unique(judge.regions(scene.truth.picture, scene.truth.instance))) <= known


def test_whose_box_fits_their_own_prompt_best_is_told(
    folders: PublicModels, scene: FixedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = PublicJudge(folders, CPU)
    fit = np.array([[0.9, 0, 0, 0], [0, 0.3, 0.2, 0.1], [0, 0.3, 0.2, 0.1], [0, 0.1, 0.2, 0.2]])
    monkeypatch.setattr(judge.clip, "match", lambda _pictures, _texts: fit)
    score = measure_picture(judge, scene, scene.truth.picture, "truth", 256)
    assert score.clip == 0.9 and [person.clip for person in score.people] == [0.3, 0.2, 0.2]
    assert [person.own_prompt for person in score.people] == [True, False, True]  # a tie is no fault
    assert summarise("truth", [score])["own_prompt_rate"] == pytest.approx(2 / 3, abs=1e-4)
    alone = replace(scene, request=msgspec.structs.replace(scene.request, characters=scene.request.characters[:1]), truth=None)
    monkeypatch.setattr(judge.clip, "match", lambda _pictures, _texts: fit[:2, :2])
    assert measure_picture(judge, alone, scene.truth.picture, "truth", 256).people[0].own_prompt is None  # of whom else?


def test_pictures_and_texts_are_matched_each_with_each(folders: PublicModels, scene: FixedScene) -> None:
    clip = PublicJudge(folders, CPU).clip
    pictures, texts = [scene.truth.picture, scene.truth.picture[:, ::-1]], ["a red shirt", "a blue hat", "a beach"]
    fit = clip.match(pictures, texts)
    assert fit.shape == (2, 3) and (np.abs(fit) <= 1 + 1e-6).all()
    assert fit[1, 2] == pytest.approx(clip.match(pictures[1:], texts[2:])[0, 0], abs=1e-6)


def test_models_that_lack_tensors_are_refused(folders: PublicModels, tmp_path: Path) -> None:
    shutil.copytree(folders.pose, tmp_path / "pose")
    tensors = load_file(tmp_path / "pose" / "model.safetensors")
    del tensors[min(tensors)]
    save_file(tensors, tmp_path / "pose" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelSetError, match=r"The weights in .*pose lack 1 of the tensors"):
        PublicJudge(msgspec.structs.replace(folders, pose=str(tmp_path / "pose")), CPU)


def test_joints_go_back_to_where_they_were_seen(
    folders: PublicModels, scene: FixedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two boxes for the same person, from two windows, are one; joints lie where the crop of the box has them."""
    judge = PublicJudge(folders, CPU)
    box = np.array([100.0, 60.0, 160.0, 220.0])
    monkeypatch.setattr(judge, "_boxes", lambda _picture: [(box, 0.9), (box + 1, 0.8)])
    found = judge.people(scene.truth.picture)
    assert found.keypoints.shape == (1, 18, 2) and found.scores.tolist() == [0.9]
    margin = 0.13 * (box[2:] - box[:2]) + 60  # a quarter more, at the crop's 3:4
    assert (found.keypoints[0] >= box[:2] - margin).all() and (found.keypoints[0] <= box[2:] + margin).all()
    neck, shoulders = found.keypoints[0, 1], found.keypoints[0, [2, 5]]
    assert neck == pytest.approx(shoulders.mean(0))


@pytest.mark.parametrize("cell", [(3, 4), (20, 10), (58, 42)])
def test_a_hot_cell_is_read_where_the_model_saw_it(
    cell: tuple[int, int], folders: PublicModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outermost cells of 64 x 48 lie on the corners of the box with its margin (arXiv 1911.07524): no half cells."""
    judge = PublicJudge(folders, CPU)
    row, column = cell
    heat = torch.zeros(1, 17, 64, 48)
    heat[:, :, row, column] = 1
    monkeypatch.setattr(judge, "pose", lambda _crop: SimpleNamespace(heatmaps=heat))
    joints = judge._joints(np.zeros((300, 300, 3), np.uint8), np.array([100.0, 60.0, 160.0, 220.0]))
    expected = (130 + 150 * (column / 47 - 0.5), 140 + 200 * (row / 63 - 0.5))  # 60x160 at 3:4 and a quarter more is 150x200
    assert joints == pytest.approx(np.tile(expected, (18, 1)), abs=0.1)


def test_left_joints_are_the_left_ones(folders: PublicModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hot cell per joint, each with COCO's number of the joint as its column."""
    judge = PublicJudge(folders, CPU)
    heat = torch.zeros(1, 17, 64, 48)
    heat[0, range(17), 30, range(4, 38, 2)] = 1
    monkeypatch.setattr(judge, "pose", lambda _crop: SimpleNamespace(heatmaps=heat))
    joints = judge._joints(np.zeros((300, 300, 3), np.uint8), np.array([100.0, 60.0, 160.0, 220.0]))
    coco = (
        "Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist",
        "LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle",
    )  # fmt: skip
    for number, name in enumerate(coco):
        x = 130 + 150 * ((4 + 2 * number) / 47 - 0.5)
        assert joints[KEYPOINT_NAMES.index(name), 0] == pytest.approx(x, abs=0.5), name


def test_clothes_are_parsed_one_person_at_a_time(
    folders: PublicModels, scene: FixedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = PublicJudge(folders, CPU)
    seen: list[tuple[int, ...]] = []

    def parse(picture: np.ndarray) -> np.ndarray:
        seen.append(picture.shape[:2])
        return np.full((4, 4), len(seen), np.uint8)

    monkeypatch.setattr(judge, "parse", parse)
    instances = scene.truth.instance
    assert np.array_equal(judge.regions(scene.truth.picture, instances), instances)
    for person, (height, width) in enumerate(seen, start=1):
        rows, columns = np.nonzero(instances == person)
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert tall <= height <= 1.35 * max(tall, wide) and wide <= width <= 1.35 * max(tall, wide)


def test_the_lower_half_of_a_dress_counts_as_trousers(
    folders: PublicModels, scene: FixedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = PublicJudge(folders, CPU)
    monkeypatch.setattr(judge, "parse", lambda _: np.full((4, 4), public._DRESS, np.uint8))
    instances = scene.truth.instance
    regions = judge.regions(scene.truth.picture, instances)
    for person in range(1, instances.max() + 1):
        rows = np.nonzero(instances == person)[0]
        halves = [regions[instances == person][rows < rows.mean()], regions[instances == person][rows > rows.mean()]]
        upper, lower = (np.bincount(half, minlength=9).argmax() for half in halves)
        assert (upper, lower) == (REGIONS.index("upper_body"), REGIONS.index("lower_body"))
    assert set(np.unique(regions)) == {0, REGIONS.index("upper_body"), REGIONS.index("lower_body")}


def test_networks_are_read_in_single_precision(folders: PublicModels, tmp_path: Path) -> None:
    save_pose(tmp_path / "pose")
    VitPoseForPoseEstimation.from_pretrained(tmp_path / "pose", dtype=torch.float16).save_pretrained(tmp_path / "half")
    judge = PublicJudge(msgspec.structs.replace(folders, pose=str(tmp_path / "half")), CPU)
    assert {one.dtype for part in (judge.detector, judge.pose, judge.clothes) for one in part.parameters()} == {torch.float32}


def test_what_is_held_against_renders_is_left_out_of_its_report(
    folders: PublicModels, tiny_models: ModelSet, judge_folder: Path, tmp_path: Path
) -> None:
    models = load_models(tiny_models, CPU, torch.float32)
    told = {}
    for judge in (NetJudge(judge_folder, CPU), PublicJudge(folders, CPU)):
        scenes, settings = FixedScenes((1,), 64), RenderSettings(steps=1)
        report = evaluate(models, judge, ["upscale"], scenes, settings, tmp_path, lambda *_: Spy())
        assert report is not None
        told[judge.name] = report.summaries[0], (tmp_path / "results.md").read_text()
    (ours, our_table), (public, table) = told.values()
    for name in ("background_accuracy", "sharpness", "patch_distance"):
        assert ours[name] is not None and public[name] is None and public["by_size"]["4x"].get(name) is None
    assert public["seam_score"] == ours["seam_score"]
    head = table.splitlines()[2]
    assert "sharpness" not in head and "patch distance" not in head and "sharpness" in our_table.splitlines()[2]
    assert "which are no measure of photographs" in table and "no measure" not in our_table
    assert "gets wrong in them it also gets wrong elsewhere" in our_table and "wrong elsewhere" not in table


def test_boxes_lie_in_the_picture_and_cut_people_are_left_to_other_windows(
    folders: PublicModels, scene: FixedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "_SURE_PERSON", 0.0)  # random weights are sure of nothing
    judge = PublicJudge(folders, CPU)
    boxes = np.array([box for box, _ in judge._boxes(scene.truth.picture)])
    assert len(boxes) >= 5 and (boxes[:, :2] < boxes[:, 2:]).all()
    windows = 1 + 3 * 3  # the whole picture, and windows half as high, half overlapping
    assert len(boxes) <= 5 * windows
    assert (np.abs(boxes - 256) < 512).all()
    monkeypatch.setattr(public, "_BORDER", 1.0)  # every box of an inner border now counts as cut
    assert len(judge._boxes(scene.truth.picture)) <= 5


def test_nobody_is_found_twice_as_large_in_a_picture_smaller_than_the_smallest_window(
    folders: PublicModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = PublicJudge(folders, CPU)
    one = SimpleNamespace(logits=torch.full((1, 1, 2), 9.0), pred_boxes=torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]))
    monkeypatch.setattr(judge, "detector", lambda _picture: one)
    found = [box.tolist() for box, _ in judge._boxes(np.zeros((128, 128, 3), np.uint8))]
    assert found == [[32, 32, 96, 96]]


def test_a_missing_model_is_named_with_the_next_step(folders: PublicModels) -> None:
    absent = PublicModels(detector=folders.detector, pose="nobody/no-such-pose")
    with pytest.raises(JudgeError, match="needs 'nobody/no-such-pose', which is not on this machine: run `hf download"):
        PublicJudge(absent, CPU)


def test_a_missing_model_is_not_asked_the_network_for() -> None:
    with pytest.raises(JudgeError, match="which is not on this machine"):
        load_local(lambda name, **how: pytest.fail(f"transformers looks for {name}"), "nobody/no-such-pose")


def test_does_without_preferences(folders: PublicModels, scene: FixedScene) -> None:
    judge = PublicJudge(msgspec.structs.replace(folders, preference="nobody/no-such-taste"), CPU)
    (note,) = judge.notes
    assert note.startswith("No preference scores: ") and "hf download nobody/no-such-taste" in note
    assert measure_picture(judge, scene, scene.truth.picture, "truth", 256).preference is None
