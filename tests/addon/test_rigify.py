"""Rigify as Blender itself generates it, posed by its controls."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import Person, best_match, detect
from beyondscene.addon.exporters.rigs import gather_rest_bones
from beyondscene.addon.exporters.rigs.family import REQUIRED
from beyondscene.addon.exporters.rigs.shape import guess_by_shape

from .skeletons import SKELETONS, build_rig
from .test_rigs import bend, found_joints, turned


@pytest.fixture
def rigify(blender: Any) -> Iterator[Any]:
    addon_utils = importlib.import_module("addon_utils")  # Blender's own, of which the type checker knows nothing
    after_loading = blender.app.handlers.load_post
    others = list(after_loading)
    if addon_utils.enable("rigify", default_set=True) is None:
        pytest.skip("this Blender comes without Rigify")
    yield blender
    addon_utils.disable("rigify", default_set=True)
    after_loading[:] = others  # 5.0's own stays, and fails at every file that is opened afterwards


def test_a_generated_rig_follows_its_controls_in_fk_and_ik(rigify: Any) -> None:
    rigify.ops.object.armature_basic_human_metarig_add()
    meta = rigify.context.object
    match = best_match(meta)
    assert (match.label, match.coverage) == ("Rigify meta-rig", 1)
    guess = guess_by_shape(gather_rest_bones(meta))
    assert guess and guess.anchors == {role: at for role, at in match.anchors.items() if role in REQUIRED}
    rest = {role: np.array(meta.data.bones[at.bone].head_local) for role, at in match.anchors.items()}
    assert Person(meta).enabled

    rigify.ops.pose.rigify_generate()
    rig = rigify.context.object
    assert rig is not meta
    match = best_match(rig)
    assert (match.label, match.coverage, match.limbs_found) == ("Rigify", 1, 12)
    assert Person(rig).enabled and not Person(meta).enabled and Person(meta).doubt == "Rigify has made 'rig' of it"
    for name, place in found_joints(rigify, rig).items():
        if name in rest:
            np.testing.assert_allclose(place, rest[name], atol=1e-4, err_msg=name)

    raised = turned(-40, "Y")
    rig.pose.bones["upper_arm_parent.L"]["IK_FK"] = 1.0
    rigify.context.view_layer.update()
    bend(rig, "forearm_fk.L", raised)
    rig.pose.bones["hand_ik.R"].location = (0.02, 0.05, 0.01)
    found = found_joints(rigify, rig)
    np.testing.assert_allclose(found["LElbow"], rest["LElbow"], atol=1e-4)
    np.testing.assert_allclose(found["LWrist"], rest["LElbow"] + raised @ (rest["LWrist"] - rest["LElbow"]), atol=1e-3)
    np.testing.assert_allclose(found["RWrist"], rig.pose.bones["hand_ik.R"].head, atol=1e-3)
    assert np.linalg.norm(found["RWrist"] - rest["RWrist"]) > 0.03

    importlib.import_module("addon_utils").disable("rigify", default_set=True)
    assert not Person(meta).enabled
    rigify.context.scene.collection.objects.unlink(rig)
    assert Person(meta).enabled


@pytest.mark.parametrize("animal", ["bird", "cat", "horse", "wolf"])
def test_an_animal_is_nobody_until_it_is_ticked(rigify: Any, animal: str) -> None:
    rig = rigify.data.objects.new(animal, rigify.data.armatures.new(animal))
    rigify.context.collection.objects.link(rig)
    rigify.context.view_layer.objects.active = rig
    rigify.ops.object.mode_set(mode="EDIT")
    importlib.import_module(f"rigify.metarigs.Animals.{animal}").create(rig)
    rigify.ops.object.mode_set(mode="OBJECT")
    basic = "head" in rig.data.bones
    assert detect(rig).label == ("Basic rig" if basic else "Rigify meta-rig")  # its bones are called as a person's are
    assert not Person(rig).enabled and "rest pose is not a person's" in Person(rig).doubt
    rider = rigify.data.objects.new("Rider", build_rig(rigify, SKELETONS["mixamo"]).data)
    rigify.context.collection.objects.link(rider)
    rider.parent = rig
    assert Person(rider).enabled  # whom it carries is no garment of its
    rig.beyondscene.drawn = True
    assert Person(rig).enabled
