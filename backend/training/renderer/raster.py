"""Rasterise people as shaded, tapered capsules with a depth buffer."""

import msgspec
import numpy as np
import numpy.typing as npt

from .looks import GARMENT_COLOURS, HAIR_COLOURS, SKIN_COLOURS, Colour, Look
from .mannequin import Array, Body

Plane = npt.NDArray[np.float32]
Window = tuple[slice, slice, Plane, Plane]  # rows, columns, y (rows, 1) and x (1, columns) of pixel centres, in px

REGIONS = ("background", "head", "hair", "upper_body", "lower_body", "arms", "feet")
HEAD, HAIR, UPPER_BODY, LOWER_BODY, ARMS, FEET = range(1, 7)

_LIGHT = np.array([-0.45, 0.62, 0.64], np.float32)  # X right, Y up, Z towards the camera; unit
_SHOES: Colour = (44, 36, 34)


class Camera(msgspec.Struct, frozen=True):
    """A pinhole camera that looks along +Z from (0, height_m, 0), shifted instead of pitched."""

    width_px: int
    height_px: int
    focal_px: float
    centre_x_px: float  # where X = 0 lands
    horizon_y_px: float  # may lie outside the picture
    height_m: float

    def project(self, point: Array) -> tuple[float, float, float]:
        """Return x_px, y_px and depth in metres of a world point (3,)."""
        scale = self.focal_px / point[2]
        return (
            float(self.centre_x_px + scale * point[0]),
            float(self.horizon_y_px - scale * (point[1] - self.height_m)),
            float(point[2]),
        )


class Canvas:
    """Picture and per-pixel depth (m), person number (0 = nobody) and region of what is nearest."""

    def __init__(self, picture: npt.NDArray[np.uint8]) -> None:
        height, width = picture.shape[:2]
        self.colour: Plane = picture.astype(np.float32)  # (H, W, 3), 0..255
        self.depth: Plane = np.full((height, width), np.inf, np.float32)
        self.instance = np.zeros((height, width), np.uint8)
        self.region = np.zeros((height, width), np.uint8)

    def shade_ground(self, camera: Camera, body: Body) -> None:
        """Darken the ground softly around the person's feet and below the trunk."""
        for name, radius, strength in (("hips", 0.42, 0.30), ("right_ankle", 0.17, 0.30), ("left_ankle", 0.17, 0.30)):
            foot = body.points[name] * np.array([1.0, 0, 1])
            x, y, depth = camera.project(foot)
            radius_x = radius * camera.focal_px / depth
            radius_y = max(radius_x * camera.height_m / depth, 1.0)
            window = self._window(x - 2 * radius_x, y - 2 * radius_y, x + 2 * radius_x, y + 2 * radius_y)
            if window is not None:
                rows, columns, ys, xs = window
                dark = strength * np.exp(-(((xs - x) / radius_x) ** 2) - ((ys - y) / radius_y) ** 2)
                self.colour[rows, columns] *= (1 - dark)[..., None]

    def capsule(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radii: tuple[float, float],
        colour: Colour,
        region: int,
        person: int,
        flatness: float = 1.0,
    ) -> None:
        """Draw a capsule from start to end (x_px, y_px, depth m) with screen radii at both ends, in px.

        flatness: its thickness along the line of sight over its thickness on screen.
        """
        reach = max(radii) + 1
        window = self._window(
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
        metres_per_px = self._metres_per_px * (start[2] + (end[2] - start[2]) * t)
        depth = start[2] + (end[2] - start[2]) * t - flatness * radius * facing * metres_per_px
        light = _light(dx / radius, -dy / radius, facing)
        self._blend(rows, columns, near_edge, depth, np.array(colour, np.float32) * light[..., None], region, person)

    def head(self, camera: Camera, body: Body, look: Look, person: int) -> None:
        """Draw the head: skin, eyes and mouth in front, hair on top and behind."""
        x, y, depth = camera.project(body.points["head"])
        radius = body.head_radius * camera.focal_px / depth
        window = self._window(x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1)
        if window is None:
            return
        rows, columns, ys, xs = window
        dx, dy = (xs - x) / radius, -(ys - y) / radius
        distance = np.sqrt(dx * dx + dy * dy)
        facing = np.sqrt(np.clip(1 - distance * distance, 0, 1))
        front, side, top = (
            dx * axis[0] + dy * axis[1] - facing * axis[2]
            for axis in (body.head_forward.astype(np.float32), body.head_lateral.astype(np.float32), body.up.astype(np.float32))
        )
        sharpness = max(radius, 4.0) / 1.2  # edges about a pixel wide

        def inside(level: Plane) -> Plane:
            return np.clip(level * sharpness + 0.5, 0, 1)[..., None]

        colour = np.broadcast_to(np.array(SKIN_COLOURS[look.skin], np.float32), (*dx.shape, 3))
        visible_front = front > 0
        for eye_side in (-0.36, 0.36):
            away = np.sqrt((side - eye_side) ** 2 + (top - 0.16) ** 2)
            colour = _mix(colour, (250, 250, 250), inside((0.15 - away) * visible_front))
            colour = _mix(colour, (30, 22, 20), inside((0.10 - away) * visible_front))
        mouth = np.minimum(0.26 - np.abs(side), 0.06 - np.abs(top + 0.42)) * visible_front
        colour = _mix(colour, (150, 60, 56), inside(mouth))
        nose = np.minimum(0.07 - np.abs(side), 0.13 - np.abs(top + 0.10)) * visible_front
        colour = _mix(colour, tuple(int(0.82 * c) for c in SKIN_COLOURS[look.skin]), inside(nose))
        hair = 0.1 - (0.9 * front - 0.85 * top)
        colour = _mix(colour, HAIR_COLOURS[look.hair], inside(hair))
        surface = depth - facing * body.head_radius
        shaded = colour * _light(dx, dy, facing)[..., None]
        region = np.where(hair > 0, HAIR, HEAD).astype(np.uint8)
        self._blend(rows, columns, np.clip((1 - distance) * radius + 0.5, 0, 1), surface, shaded, region, person)

    def person(self, camera: Camera, body: Body, look: Look, person: int) -> None:
        """Draw a whole person; `person` counts from 1."""
        self._metres_per_px = 1 / camera.focal_px
        shirt, trousers = GARMENT_COLOURS[look.shirt], GARMENT_COLOURS[look.trousers]
        skin, hair = SKIN_COLOURS[look.skin], HAIR_COLOURS[look.hair]
        at = {name: camera.project(point) for name, point in body.points.items()}

        def limb(start: str, end: str, radius_start: float, radius_end: float, colour: Colour, region: int) -> None:
            radii = tuple(r * body.build * camera.focal_px / at[e][2] for r, e in ((radius_start, start), (radius_end, end)))
            self.capsule(at[start], at[end], (radii[0], radii[1]), colour, region, person)

        for side in ("right", "left"):
            limb(f"{side}_ankle", f"{side}_toe", 0.048, 0.038, _SHOES, FEET)
            limb(f"{side}_hip", f"{side}_knee", 0.088, 0.066, trousers, LOWER_BODY)
            limb(f"{side}_knee", f"{side}_ankle", 0.066, 0.05, trousers, LOWER_BODY)
            limb(f"{side}_wrist", f"{side}_hand", 0.036, 0.044, skin, ARMS)
            limb(f"{side}_shoulder", f"{side}_elbow", 0.064, 0.05, shirt, UPPER_BODY)
            if look.short_sleeves:
                limb(f"{side}_elbow", f"{side}_wrist", 0.043, 0.034, skin, ARMS)
            else:
                limb(f"{side}_elbow", f"{side}_wrist", 0.05, 0.04, shirt, UPPER_BODY)
        limb("right_hip", "left_hip", 0.096, 0.096, trousers, LOWER_BODY)
        self._trunk(camera, body, shirt, person)
        limb("neck", "head", 0.052, 0.05, skin, HEAD)
        head_radius = body.head_radius / body.build
        back = body.points["head"] + body.head_radius * (0.14 * body.up - 0.2 * body.head_forward)
        at["crown"] = camera.project(back)
        limb("crown", "crown", head_radius * 0.99, head_radius * 0.99, hair, HAIR)
        if look.noun == "woman":
            at["tips"] = camera.project(back - body.head_radius * (1.7 * body.up + 0.25 * body.head_forward))
            limb("crown", "tips", head_radius * 0.95, head_radius * 0.6, hair, HAIR)
        self.head(camera, body, look, person)

    def _trunk(self, camera: Camera, body: Body, shirt: Colour, person: int) -> None:
        neck, hips = body.points["neck"], body.points["waist"]
        half_width = float(np.linalg.norm(body.points["left_shoulder"] - neck)) * 0.98
        chest = neck - body.up * (half_width * 0.82)
        start, end = camera.project(hips), camera.project(chest)
        # The trunk is an elliptical cylinder; its half width on screen depends on where it faces.
        across = np.array([end[1] - start[1], end[0] - start[0], 0.0])
        across = across / max(float(np.linalg.norm(across)), 1e-6) * np.array([1, 1, 0])
        wide, deep = abs(float(body.lateral @ across)), abs(float(body.forward @ across))
        breadth = float(np.hypot(wide, 0.62 * deep))
        thickness = float(np.hypot(0.62 * (1 - deep**2) ** 0.5, (1 - wide**2) ** 0.5 if wide < 1 else 0.0)) / max(breadth, 0.3)
        radii = (0.8 * half_width * breadth * camera.focal_px / start[2], half_width * breadth * camera.focal_px / end[2])
        self.capsule(start, end, radii, shirt, UPPER_BODY, person, flatness=min(thickness, 1.0))

    def _window(self, left: float, top: float, right: float, bottom: float) -> Window | None:
        height, width = self.depth.shape
        x0, x1 = max(int(left), 0), min(int(right) + 2, width)
        y0, y1 = max(int(top), 0), min(int(bottom) + 2, height)
        if x0 >= x1 or y0 >= y1:
            return None
        ys = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5)
        xs = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5)
        return slice(y0, y1), slice(x0, x1), ys, xs

    def _blend(
        self,
        rows: slice,
        columns: slice,
        coverage: Plane,
        depth: Plane,
        colour: Plane,
        region: int | npt.NDArray[np.uint8],
        person: int,
    ) -> None:
        visible = depth < self.depth[rows, columns]
        alpha = np.where(visible, coverage, 0)[..., None]
        self.colour[rows, columns] += (colour - self.colour[rows, columns]) * alpha
        solid = visible & (coverage > 0.5)
        self.depth[rows, columns] = np.where(solid, depth, self.depth[rows, columns])
        self.region[rows, columns] = np.where(solid, region, self.region[rows, columns])
        self.instance[rows, columns] = np.where(solid, person, self.instance[rows, columns])


def _light(right: Plane, up: Plane, facing: Plane) -> Plane:
    """Brightness factor of a surface with the given normal; 1 where it is lit well."""
    return 0.58 + 0.46 * np.clip(right * _LIGHT[0] + up * _LIGHT[1] + facing * _LIGHT[2], 0, 1)


def _mix(colour: Plane, other: Colour | tuple[int, ...], amount: Plane) -> Plane:
    return colour + (np.array(other, np.float32) - colour) * amount
