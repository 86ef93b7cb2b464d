"""Joints that the artist set: they win, they stay in the file, and they travel to other rigs as a preset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon import images
from beyondscene.addon.exporters import ExportError, best_match, detect, export_request
from beyondscene.addon.exporters.rigs import Anchor
from beyondscene.addon.joint_presets import PresetError, load_preset, preset_names, save_preset
from beyondscene.protocol import KEYPOINT_NAMES

from .skeletons import SKELETONS, build_rig
from .test_rigs import found_joints

Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where presets go in this test."""
    monkeypatch.setattr(images, "kept_folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(images, "own_folder", lambda: tmp_path / "own")
    return tmp_path / "kept" / "joints"


def test_a_joint_that_was_set_wins_over_what_was_found(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    joints = rig.beyondscene.joints
    before = found_joints(blender, rig)
    joints.LElbow.bone = "hand_l"
    joints.RWrist.bone, joints.RWrist.end = "hand_r", "TAIL"
    joints.Nose.bone = joints.Neck.bone = "neck_01"
    match = best_match(rig)
    assert (match.limbs_found, match.keypoints_found) == (12, 14)  # and the neck and the nose
    assert set(match.corrected) == {"LElbow", "RWrist", "Nose", "Neck"}
    found = found_joints(blender, rig)
    bones = rig.data.bones
    for name, place in {
        "LElbow": bones["hand_l"].head_local,
        "RWrist": bones["hand_r"].tail_local,
        "Nose": bones["neck_01"].head_local,
        "Neck": bones["neck_01"].head_local,
    }.items():
        np.testing.assert_allclose(found[name], place, atol=1e-6)
    for name in ("LShoulder", "RElbow", "LEye"):
        np.testing.assert_allclose(found[name], before[name])


def test_an_unknown_rig_becomes_a_person_by_hand_and_a_bone_that_goes_is_named(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    for number, bone in enumerate(rig.data.bones):
        bone.name, bone.use_deform = f"b{number}", bone.name == "head"
    with pytest.raises(ExportError, match="name its joints in the panel under Joints"):
        detect(rig)
    for number, role in enumerate(("RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "Head")):
        getattr(rig.beyondscene.joints, role).bone = f"b{number + 1}"
    assert detect(rig).limbs_found == 6
    rig.data.bones["b2"].name = "other"
    with pytest.raises(ExportError, match="The right elbow of 'Rig' was set to the bone 'b2', which the rig lacks"):
        detect(rig)


def test_corrections_survive_saving_and_move_the_keypoint(blender: Any, example: Example, tmp_path: Path) -> None:
    example("duo")
    blender.data.objects["Eve"].beyondscene.joints.LWrist.bone = "lowerarm_l"
    path = str(tmp_path / "set.blend")
    blender.ops.wm.save_as_mainfile(filepath=path, copy=True)
    blender.ops.wm.open_mainfile(filepath=path)
    eve = blender.data.objects["Eve"]
    assert best_match(eve).anchors["LWrist"] == Anchor("lowerarm_l")
    keypoints = dict(zip(KEYPOINT_NAMES, export_request(blender.context)[0].characters[0].keypoints, strict=True))
    assert (keypoints["LWrist"].x, keypoints["LWrist"].y) == (keypoints["LElbow"].x, keypoints["LElbow"].y)


def test_the_selected_pose_bone_is_taken(blender: Any) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    assert not blender.ops.beyondscene.take_bone.poll()  # no pose bone is selected in Object Mode
    blender.ops.object.mode_set(mode="POSE")
    rig.data.bones.active = rig.data.bones["hand_l"]
    assert blender.ops.beyondscene.take_bone(joint="LElbow") == {"FINISHED"}
    assert rig.beyondscene.joints.LElbow.bone == "hand_l"
    assert blender.ops.beyondscene.clear_joints() == {"FINISHED"}
    assert best_match(rig).corrected == ()


def test_a_preset_sets_the_joints_of_another_rig(blender: Any, folder: Path) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    with pytest.raises(RuntimeError, match="nothing to save"):
        blender.ops.beyondscene.save_joints(name="mine")
    rig.beyondscene.joints.LElbow.bone = "Hand_l"
    with pytest.raises(RuntimeError, match="The left elbow of 'Rig' was set to the bone 'Hand_l', which the rig lacks"):
        blender.ops.beyondscene.save_joints(name="mine")
    rig.beyondscene.joints.LElbow.bone, rig.beyondscene.joints.LElbow.end = "hand_l", "TAIL"
    with pytest.raises(RuntimeError, match="cannot name a preset"):
        blender.ops.beyondscene.save_joints(name="../mine")
    assert blender.ops.beyondscene.save_joints(name="mine") == {"FINISHED"}
    other = build_rig(blender, SKELETONS["mb-lab"])
    other.beyondscene.joints.RKnee.bone = "head"
    with pytest.raises(RuntimeError, match=r"'Rig\.001' lacks the bone 'hand_l' of the preset 'mine'"):
        blender.ops.beyondscene.load_joints(name="mine")
    assert best_match(other).corrected == ("RKnee",)
    other.data.bones["hand_L"].name = "hand_l"
    assert blender.ops.beyondscene.load_joints(name="mine") == {"FINISHED"}
    assert best_match(other).corrected == ("LElbow",)
    assert best_match(other).anchors["LElbow"] == Anchor("hand_l", "tail")


def test_presets_of_earlier_versions_are_found_and_the_newer_one_counts(folder: Path) -> None:
    save_preset("mine", {"LElbow": Anchor("hand_l")})
    images.own_folder().mkdir()
    folder.rename(images.own_folder() / "joints")
    assert preset_names() == ["mine"] and load_preset("mine") == {"LElbow": Anchor("hand_l")}
    save_preset("mine", {"LElbow": Anchor("forearm_l")})
    assert preset_names() == ["mine"] and load_preset("mine") == {"LElbow": Anchor("forearm_l")}


def test_a_preset_is_typed_and_versioned(folder: Path) -> None:
    assert preset_names() == []
    with pytest.raises(PresetError, match="There is no preset 'mine': save one from a rig first"):
        load_preset("mine")
    path = save_preset("mine", {"LElbow": Anchor("hand_l", "tail")})
    assert path.read_text() == (
        '{\n  "format": 1,\n  "joints": {\n    "LElbow": {\n      "bone": "hand_l",\n      "end": "tail"\n    }\n  }\n}'
    )
    assert preset_names() == ["mine"]
    assert load_preset("mine") == {"LElbow": Anchor("hand_l", "tail")}
    for damaged in ('{"format": 2, "joints": {}}', '{"format": 1, "joints": {"Tail": {"bone": "a"}}}', "{", '{"ä": {}}'):
        path.write_text(damaged, "latin-1")
        with pytest.raises(PresetError, match="cannot be read"):
            load_preset("mine")


def test_a_preset_that_is_not_there_is_no_path_and_those_that_are_there_are_named(blender: Any, folder: Path) -> None:
    rig = build_rig(blender, SKELETONS["unreal"])
    for name in ("mine", "My Rig"):
        save_preset(name, {"LElbow": Anchor("hand_l")})
    (folder / "mine.json").rename(folder.parent / "mine.json")
    save_preset("theirs", {"LElbow": Anchor("hand_l")})
    for name in ("", "zzz", "../mine"):
        with pytest.raises(RuntimeError, match=f"There is no preset '{name}': choose one of My Rig, theirs"):
            blender.ops.beyondscene.load_joints(name=name)
    assert best_match(rig).corrected == ()
