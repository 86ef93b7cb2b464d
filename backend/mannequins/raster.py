"""Rasterise shaded, tapered capsules with a depth buffer."""

import msgspec
import numpy as np
import numpy.typing as npt

from .looks import Colour
from .mannequin import Array

Plane = npt.NDArray[np.floating]  # float32; numpy 2 declares it to be more
Point = tuple[float, float, float]  # x_px, y_px, depth in metres
Window = tuple[slice, slice, Plane, Plane]  # rows, columns, y (rows, 1) and x (1, columns) of pixel centres, in px

REGIONS = ("background", "head", "hair", "upper_body", "lower_body", "arms", "feet", "legs", "things")
HEAD, HAIR, UPPER_BODY, LOWER_BODY, ARMS, FEET, LEGS, THINGS = range(1, 9)  # legs: bare ones; things: hats, what is carried

AMBIENT, DIFFUSE = 0.52, 0.54
LIGHTS: dict[str, tuple[float, float, float]] = {  # towards the light: X right, Y up, Z towards the camera
    "left": (-0.72, 0.55, 0.42),
    "right": (0.72, 0.55, 0.42),
    "front": (-0.12, 0.55, 0.83),
}


class Camera(msgspec.Struct, frozen=True):
    """A pinhole camera that looks along +Z from (0, height_m, 0), shifted instead of pitched."""

    width_px: int
    height_px: int
    focal_px: float
    centre_x_px: float  # where X = 0 lands
    horizon_y_px: float  # may lie outside the picture
    height_m: float

    def project(self, point: Array) -> Point:
        """Return x_px, y_px and depth in metres of a world point (3,)."""
        scale = self.focal_px / point[2]
        return (
            float(self.centre_x_px + scale * point[0]),
            float(self.horizon_y_px - scale * (point[1] - self.height_m)),
            float(point[2]),
        )

    def ground_depth(self) -> Plane:
        """Return the depth of the ground at each pixel, float32 (H, W), metres; inf above the horizon."""
        rows = np.arange(self.height_px, dtype=np.float32) + np.float32(0.5)
        below = rows - np.float32(self.horizon_y_px)
        depth = np.where(below > 0, self.focal_px * self.height_m / np.maximum(below, 1e-3), np.inf)
        return np.repeat(depth.astype(np.float32)[:, None], self.width_px, axis=1)


class Canvas:
    """A picture and, of the nearest person at each pixel: depth (m), normal, number (0 = nobody) and region."""

    def __init__(self, picture: npt.NDArray[np.uint8], camera: Camera, light: str) -> None:
        """picture: (H, W, 3), the background. light: key of LIGHTS."""
        height, width = picture.shape[:2]
        self.camera = camera
        self.light = np.array(LIGHTS[light], np.float32)
        self.light /= np.linalg.norm(self.light)
        self.colour: Plane = picture.astype(np.float32)  # (H, W, 3), 0..255
        self.depth: Plane = np.full((height, width), np.inf, np.float32)
        self.normal = np.zeros((height, width, 3), np.float32)  # X right, Y up, Z towards the camera
        self.instance = np.zeros((height, width), np.uint8)
        self.region = np.zeros((height, width), np.uint8)

    def capsule(
        self,
        start: Point,
        end: Point,
        radii: tuple[float, float],
        colour: Colour,
        region: int,
        person: int,
        flatness: float = 1.0,
    ) -> None:
        """Draw a capsule with screen radii at both ends, in px.

        flatness: its thickness along the line of sight over its thickness on screen.
        """
        reach = max(radii) + 1
        window = self.window(
            min(start[0], end[0]) - reach, min(start[1], end[1]) - reach,
            max(start[0], end[0]) + reach, max(start[1], end[1]) + reach,
        )  # fmt: skip
        if window is None:
            return
        rows, columns, ys, xs = window
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        dx, dy = xs - np.float32(start[0]), ys - np.float32(start[1])
        t = np.clip((dx * along_x + dy * along_y) / max(along_x**2 + along_y**2, 1e-6), 0, 1)
        radius = radii[0] + (radii[1] - radii[0]) * t
        dx, dy = dx - t * along_x, dy - t * along_y
        distance = np.sqrt(dx * dx + dy * dy)
        near_edge = np.clip(radius - distance + 0.5, 0, 1)
        facing = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
        middle = start[2] + (end[2] - start[2]) * t
        depth = middle - flatness * radius * facing * middle / self.camera.focal_px
        normal = np.stack([dx / radius, -dy / radius, facing], -1)
        self.blend(rows, columns, near_edge, depth, np.array(colour, np.float32), normal, region, person)

    def window(self, left: float, top: float, right: float, bottom: float) -> Window | None:
        """Return the part of the picture inside a box, None where there is none."""
        height, width = self.depth.shape
        x0, x1 = max(int(left), 0), min(int(right) + 2, width)
        y0, y1 = max(int(top), 0), min(int(bottom) + 2, height)
        if x0 >= x1 or y0 >= y1:
            return None
        ys = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5)
        xs = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5)
        return slice(y0, y1), slice(x0, x1), ys, xs

    def blend(
        self,
        rows: slice,
        columns: slice,
        coverage: Plane,
        depth: Plane,
        colour: Plane,
        normal: Plane,
        region: int | npt.NDArray[np.uint8],
        person: int,
    ) -> None:
        """Set a lit surface into the picture where it is nearest.

        coverage, depth: (h, w). colour: (3,) or (h, w, 3), unlit. normal: (h, w, 3). region: one or (h, w).
        """
        visible = depth < self.depth[rows, columns]
        alpha = np.where(visible, coverage, 0)[..., None]
        lit = colour * (AMBIENT + DIFFUSE * np.clip(normal @ self.light, 0, 1))[..., None]
        self.colour[rows, columns] += (lit - self.colour[rows, columns]) * alpha
        solid = visible & (coverage > 0.5)
        np.copyto(self.depth[rows, columns], depth, where=solid)
        np.copyto(self.normal[rows, columns], normal, where=solid[..., None])
        np.copyto(self.region[rows, columns], np.uint8(region) if isinstance(region, int) else region, where=solid)
        np.copyto(self.instance[rows, columns], np.uint8(person), where=solid)
