"""Rigify after "Generate": its deform bones, which follow the mesh in FK and IK alike; controls need not."""

from .family import Family

RIGIFY = Family(
    label="Rigify",
    source="Blender's Rigify add-on, human meta-rig, generated; MPFB2 data/rigs/rigify/rig.human.json",
    sides=("R", "L"),
    bones={
        "Shoulder": "DEF-upper_arm.{side}",
        "Elbow": "DEF-forearm.{side}",
        "Wrist": "DEF-hand.{side}",
        "Hip": "DEF-thigh.{side}",
        "Knee": "DEF-shin.{side}",
        "Ankle": "DEF-foot.{side}",
        "Head": "DEF-spine.006",
        "Eye": "DEF-eye.{side}",
    },
)
