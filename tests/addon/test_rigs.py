"""Which family an armature is of, from its bone names alone."""

import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import FAMILIES, ExportError, best_match, detect
from beyondscene.addon.exporters.rigs import REQUIRED, Family
from beyondscene.addon.exporters.rigs.family import match_family


def names_of(family: Family) -> list[str]:
    return [bone.format(side=side) for bone in family.bones.values() for side in family.sides]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.label)
def test_each_family_is_complete_says_its_source_and_knows_itself(family: Family) -> None:
    match = best_match(tuple(names_of(family)))
    assert match.family is family
    assert match.coverage == 1
    assert set(REQUIRED) <= match.bones.keys()
    assert family.source


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig7:", "mixamorig_"])
def test_mixamo_names_may_carry_a_prefix(prefix: str) -> None:
    match = detect("rig", tuple(prefix + name for name in names_of(FAMILIES[0])))
    assert match.family.label == "Mixamo"
    assert match.bones["RWrist"] == f"{prefix}RightHand"
    assert match.bones["LHip"] == f"{prefix}LeftUpLeg"


def test_rigify_is_read_from_deform_bones_among_its_controls() -> None:
    names = (*names_of(FAMILIES[-1]), "upper_arm_fk.L", "hand_ik.L", "ORG-hand.L", "DEF-upper_arm.L.001")
    match = detect("rig", names)
    assert match.bones["LShoulder"] == "DEF-upper_arm.L"
    assert match.bones["LWrist"] == "DEF-hand.L"


def test_coverage_counts_the_joints_found_and_a_poor_one_is_refused() -> None:
    half = tuple(name for name in names_of(FAMILIES[1]) if name.endswith("_l"))
    assert best_match(half).coverage == pytest.approx(6 / 13)
    with pytest.raises(ExportError, match="the best, Unreal, covers 46%"):
        detect("half", half)


def test_letter_case_does_not_matter() -> None:
    assert match_family(FAMILIES[1], [name.title() for name in names_of(FAMILIES[1])]).coverage == 1
