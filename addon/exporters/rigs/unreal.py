"""Unreal Engine's mannequin, and the game-engine rigs that took its names."""

from .family import Family

UNREAL = Family(
    label="Unreal",
    source="Unreal Engine 4 and 5 mannequin; MPFB2 data/rigs/standard/rig.game_engine.json",
    sides=("r", "l"),
    bones={
        "Shoulder": "upperarm_{side}",
        "Elbow": "lowerarm_{side}",
        "Wrist": "hand_{side}",
        "Hip": "thigh_{side}",
        "Knee": "calf_{side}",
        "Ankle": "foot_{side}",
        "Head": "head",
    },
)
