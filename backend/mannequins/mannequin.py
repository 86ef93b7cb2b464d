"""A posable mannequin: joint positions in metres from a named pose."""

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Segment directions in the body's frame, in degrees: (swing, spread). Swing turns the hanging limb forwards
# (90 = straight ahead, 180 = up); spread then moves it outwards, away from the body's middle plane.
# Order: right upper arm, right forearm, left upper arm, left forearm, right thigh, right shin, left thigh, left shin.
Directions = tuple[tuple[float, float], ...]
_STAND: Directions = ((0, 9), (8, 6), (0, 9), (8, 6), (2, 4), (-2, 3), (2, 4), (-2, 3))
POSES: dict[str, Directions] = {
    "stand": _STAND,
    "walk": ((-28, 8), (0, 6), (28, 8), (50, 4), (26, 3), (8, 2), (-20, 3), (-42, 2)),
    "run": ((-50, 12), (30, 8), (45, 12), (120, 4), (62, 4), (-20, 3), (-25, 4), (-85, 3)),
    "cheer": ((20, 140), (10, 165), (20, 140), (10, 165), (2, 8), (-2, 6), (2, 8), (-2, 6)),
    "arms up": ((165, 14), (172, 6), (165, 14), (172, 6), *_STAND[4:]),
    "wave": ((15, 112), (20, 165), *_STAND[2:]),
    "t-pose": ((0, 88), (0, 90), (0, 88), (0, 90), (0, 6), (0, 5), (0, 6), (0, 5)),
    "hands on hips": ((-15, 45), (20, -35), (-15, 45), (20, -35), (2, 9), (-2, 7), (2, 9), (-2, 7)),
    "point": ((80, 25), (85, 15), *_STAND[2:]),
    "point aside": ((10, 85), (10, 88), *_STAND[2:]),
    "arms crossed": ((25, 12), (70, -50), (25, 12), (65, -50), *_STAND[4:]),
    "dance": ((15, 75), (30, 140), (10, 95), (20, 60), (60, 25), (-30, 5), (-5, 8), (-10, 6)),
    "kick": ((-20, 50), (0, 40), (50, 40), (70, 30), (70, 8), (50, 6), (-5, 5), (-12, 4)),
    "lunge": ((10, 70), (10, 85), (10, 70), (10, 85), (60, 8), (0, 4), (-35, 6), (-60, 5)),
    "sit": ((15, 10), (65, 0), (15, 10), (65, 0), (85, 8), (0, 4), (85, 8), (0, 4)),
    "squat": ((70, 12), (80, 6), (70, 12), (80, 6), (95, 25), (-35, 12), (95, 25), (-35, 12)),
    "wide": ((10, 60), (10, 70), (10, 60), (10, 70), (5, 26), (0, 24), (5, 26), (0, 24)),
    "think": ((35, 12), (140, -25), (20, 5), (80, -60), *_STAND[4:]),
}
# Where each begins and ends, in the same order, and its length in metres in the usual body of 1.75 m.
SEGMENTS = (
    ("right_shoulder", "right_elbow", 0.28), ("right_elbow", "right_wrist", 0.25),
    ("left_shoulder", "left_elbow", 0.28), ("left_elbow", "left_wrist", 0.25),
    ("right_hip", "right_knee", 0.43), ("right_knee", "right_ankle", 0.41),
    ("left_hip", "left_knee", 0.43), ("left_knee", "left_ankle", 0.41),
)  # fmt: skip


class Body(msgspec.Struct, frozen=True):
    """One posed person in world metres: X right, Y up, Z away from the camera; the ground is Y = 0."""

    points: dict[str, Array]  # name -> (3,): hips, neck, head, shoulders, ... `right_`/`left_` pairs
    lateral: Array  # (3,) unit, towards the torso's left
    up: Array  # (3,) unit, along the torso
    forward: Array  # (3,) unit, where the chest faces
    head_forward: Array  # (3,) unit, where the face looks
    head_lateral: Array  # (3,) unit
    head_radius: float  # m
    build: float  # thickness of trunk and limbs, 1 = usual


def pose_body(random: np.random.Generator, x: float, z: float, height: float) -> Body:
    """Return a person of `height` metres standing at ground position (x, z) in a random pose."""
    directions, yaw = _draw_directions(random), _draw_yaw(random)
    upright, forward0, lateral = (
        np.array([0.0, 1, 0]),
        np.array([np.sin(yaw), 0, -np.cos(yaw)]),
        np.array([np.cos(yaw), 0, np.sin(yaw)]),
    )
    lean, tilt = np.radians(random.normal(4, 6)), np.radians(random.normal(0, 4))
    up = upright * np.cos(lean) + forward0 * np.sin(lean)
    forward = forward0 * np.cos(lean) - upright * np.sin(lean)
    up, lateral_torso = up * np.cos(tilt) + lateral * np.sin(tilt), lateral * np.cos(tilt) - up * np.sin(tilt)

    scale = height / 1.75
    shoulder_half, hip_half = random.uniform(0.165, 0.215), random.uniform(0.075, 0.115)
    leg, arm, head = random.normal(1, 0.04), random.normal(1, 0.05), random.uniform(0.92, 1.25)
    points: dict[str, Array] = {"hips": np.zeros(3)}
    points["neck"] = up * (0.50 * scale)
    points["waist"] = up * (0.06 * scale)
    for side, sign in (("right", -1.0), ("left", 1.0)):
        points[f"{side}_shoulder"] = points["neck"] + lateral_torso * (sign * shoulder_half * scale)
        points[f"{side}_hip"] = lateral * (sign * hip_half * scale)
    for (start, end, length), (swing, spread) in zip(SEGMENTS, np.radians(directions), strict=True):
        of_arm = "shoulder" in start or "elbow" in start
        frame, stretch = ((lateral_torso, up, forward), arm) if of_arm else ((lateral, upright, forward0), leg)
        sign = -1.0 if start.startswith("right") else 1.0
        local = (sign * np.sin(spread), -np.cos(swing) * np.cos(spread), np.sin(swing) * np.cos(spread))
        step = sum((axis * amount for axis, amount in zip(frame, local, strict=True)), np.zeros(3))
        points[end] = points[start] + step * (length * stretch * scale)
        if end.endswith("wrist"):
            points[end.replace("wrist", "hand")] = points[end] + step * (0.07 * scale)
            # thumbs point ahead where arms hang, and inwards
            inwards = forward - sign * 0.4 * lateral_torso - (forward @ step - sign * 0.4 * (lateral_torso @ step)) * step
            points[end.replace("wrist", "thumb")] = points[end] + (0.05 * step + 0.055 * inwards) * scale
        if end.endswith("ankle"):
            points[end.replace("ankle", "toe")] = (
                points[end] + (forward0 * 0.15 + lateral * sign * 0.03 - upright * 0.035) * scale
            )

    turn = np.radians(random.normal(0, 22))
    head_forward, head_lateral = (
        forward * np.cos(turn) + lateral_torso * np.sin(turn),
        lateral_torso * np.cos(turn) - forward * np.sin(turn),
    )
    radius = 0.105 * head * scale
    points["head"] = points["neck"] + up * (0.075 * scale + radius * 1.05) + forward * (0.02 * scale)
    for side, sign in (("right", -1.0), ("left", 1.0)):
        points[f"{side}_eye"] = points["head"] + radius * (head_forward * 0.9 + head_lateral * (0.36 * sign) + up * 0.16)
        points[f"{side}_ear"] = points["head"] + radius * (head_lateral * (0.98 * sign))
    points["nose"] = points["head"] + radius * (head_forward * 1.08 - up * 0.12)

    lowest = min(
        points["right_ankle"][1] - 0.085 * scale, points["left_ankle"][1] - 0.085 * scale, points["hips"][1] - 0.14 * scale
    )
    hop = 0.15 * random.random() if random.random() < 0.05 else 0.0
    root = np.array([x, hop - lowest, z])
    return Body(
        points={name: point + root for name, point in points.items()},
        lateral=lateral_torso, up=up, forward=forward,
        head_forward=head_forward, head_lateral=head_lateral,
        head_radius=radius, build=scale * random.uniform(0.88, 1.15),
    )  # fmt: skip


def _draw_directions(random: np.random.Generator) -> Array:
    """Return the directions (8, 2) of a random pose, in degrees as in POSES."""
    names = list(POSES)
    directions = np.array(POSES[names[int(random.integers(len(names)))]], np.float64)
    if random.random() < 0.3:  # arms of one pose on legs of another
        directions[:4] = np.array(POSES[names[int(random.integers(len(names)))]])[:4]
    if random.random() < 0.5:
        directions = directions[[2, 3, 0, 1, 6, 7, 4, 5]]
    directions += random.normal(0, 8, directions.shape)
    if random.random() < 0.12:
        directions[:4] = np.column_stack([random.uniform(-40, 170, 4), random.uniform(0, 120, 4)])
    return directions


def _draw_yaw(random: np.random.Generator) -> float:
    """Return a heading in radians, 0 facing the camera; mostly near it."""
    choice = random.random()
    if choice < 0.62:
        return float(np.radians(random.normal(0, 28)))
    if choice < 0.85:
        return float(random.uniform(-np.pi, np.pi))
    return float(np.pi + np.radians(random.normal(0, 25)))
