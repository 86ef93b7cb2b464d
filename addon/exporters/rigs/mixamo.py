"""Mixamo, as downloaded (`mixamorig:`), numbered by a second import (`mixamorig1:`), or with the prefix stripped."""

from .family import Family

MIXAMO = Family(
    label="Mixamo",
    source="skeleton of Adobe Mixamo's FBX downloads; MPFB2 data/rigs/standard/rig.mixamo.json",
    sides=("Right", "Left"),
    bones={
        "Shoulder": "{side}Arm",
        "Elbow": "{side}ForeArm",
        "Wrist": "{side}Hand",
        "Hip": "{side}UpLeg",
        "Knee": "{side}Leg",
        "Ankle": "{side}Foot",
        "Head": "Head",
        "Crown": "HeadTop_End",
    },
    prefix=r"mixamorig\d*[:_]",
)
