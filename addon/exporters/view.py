"""A picture as the camera sees it, and points of the world in it. No bpy."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...protocol import DRAWN, Camera, Keypoint, KeypointState, why_unseen
from ...protocol.scene import FARTHEST

MISSING = Keypoint(x=0, y=0, depth=0, state="missing")


class View(NamedTuple):
    """A picture of width x height px through `camera`.

    near, far: metres in front of the camera between which it sees. metres: per Blender unit.
    """

    camera: Camera
    width: int
    height: int
    near: float
    far: float
    metres: float

    def see(self, places: Iterable[np.ndarray | None]) -> tuple[Keypoint, ...]:
        """Places in the world, (3,) Blender units each, as keypoints; None where the rig has no such joint, and NaN where it
        is nowhere, as where constraints divide by a scale of 0.
        """
        there = (None if place is None or not np.isfinite(place).all() else place for place in places)
        return tuple(MISSING if place is None else self.project(place * self.metres) for place in there)

    def project(self, point: np.ndarray) -> Keypoint:
        """A point of the world, (3,) metres; what is nearer than `near` is `behind` and has no place in the picture."""
        camera = self.camera
        x, y, depth = (np.reshape(camera.camera_from_world, (4, 4)) @ [*point, 1.0])[:3]
        if depth < self.near:
            return Keypoint(x=0, y=0, depth=max(float(depth), -FARTHEST), state="behind")
        divisor = depth if camera.projection == "perspective" else 1.0
        x_px = min(max(float(camera.fx * x / divisor + camera.cx), -FARTHEST), FARTHEST)
        y_px = min(max(float(camera.fy * y / divisor + camera.cy), -FARTHEST), FARTHEST)
        return Keypoint(x=x_px, y=y_px, depth=min(float(depth), FARTHEST), state=state_at(x_px, y_px, self.width, self.height))

    def why_unseen(self, keypoints: Sequence[Keypoint]) -> str:
        """Why nobody with these joints is in the picture, to be read after a name; empty where they are."""
        depths = [joint.depth for joint in keypoints if joint.state in DRAWN]
        if depths and min(depths) > self.far:
            return f"stands wholly beyond the camera's Clip End, {self.far:g} m away"
        if not depths and any(joint.state == "behind" and joint.depth > 0 for joint in keypoints):
            return f"stands wholly before the camera's Clip Start, {self.near:g} m away"
        return why_unseen(keypoints, self.width, self.height)


def state_at(x_px: float, y_px: float, width: int, height: int) -> KeypointState:
    """Of a point before the camera, as long as nobody has looked what hides it."""
    return "visible" if 0 <= x_px < width and 0 <= y_px < height else "outside"


def unproject(camera: Camera, joint: Keypoint) -> np.ndarray:
    """(3,) metres in the camera's frame: the way back from View.project."""
    scale = joint.depth if camera.projection == "perspective" else 1.0
    return np.array([(joint.x - camera.cx) / camera.fx * scale, (joint.y - camera.cy) / camera.fy * scale, joint.depth])
