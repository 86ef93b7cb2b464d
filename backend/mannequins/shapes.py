"""Fill shapes that stand upright or lie on the ground, in metres, as a camera sees them."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from .looks import Colour
from .raster import Camera

Picture = npt.NDArray[np.uint8]


def fill_polygon(picture: Picture, points: npt.ArrayLike, colour: npt.ArrayLike) -> None:
    fixed = np.round(np.clip(np.asarray(points, np.float64), -20000, 20000) * 16 - 8).astype(np.int32)
    shade = tuple(int(c) for c in np.clip(np.asarray(colour), 0, 255))
    cv2.fillPoly(picture, [fixed], shade, lineType=cv2.LINE_AA, shift=4)


def fill_box(
    picture: Picture, camera: Camera, x0: float, y0: float, x1: float, y1: float, z: float, colour: npt.ArrayLike
) -> None:
    """Fill the upright rectangle from (x0, y0) to (x1, y1) in metres at depth z."""
    scale = camera.focal_px / z
    left, right = camera.centre_x_px + scale * x0, camera.centre_x_px + scale * x1
    low, high = camera.horizon_y_px - scale * (y0 - camera.height_m), camera.horizon_y_px - scale * (y1 - camera.height_m)
    if right > 0 and left < camera.width_px and low > 0 and high < camera.height_px:
        fill_polygon(picture, [(left, low), (right, low), (right, high), (left, high)], colour)


def fill_disc(
    picture: Picture, camera: Camera, x: float, y: float, z: float, radius: float, colour: npt.ArrayLike, flat: float = 1.0
) -> None:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    fill_shape(picture, camera, np.column_stack([x + radius * np.cos(angles), y + flat * radius * np.sin(angles)]), z, colour)


def fill_shape(picture: Picture, camera: Camera, metres: npt.ArrayLike, z: float, colour: npt.ArrayLike) -> None:
    """Fill an upright polygon (N, 2) of x, y in metres at depth z."""
    points, scale = np.asarray(metres, np.float64), camera.focal_px / z
    projected = np.column_stack([
        camera.centre_x_px + scale * points[:, 0],
        camera.horizon_y_px - scale * (points[:, 1] - camera.height_m),
    ])  # fmt: skip
    if (projected.max(axis=0) > 0).all() and (projected.min(axis=0) < (camera.width_px, camera.height_px)).all():
        fill_polygon(picture, projected, colour)


def visible_span(camera: Camera, z: float) -> tuple[float, float]:
    """Return the visible range of X in metres at depth z."""
    scale = z / camera.focal_px
    return -camera.centre_x_px * scale, (camera.width_px - camera.centre_x_px) * scale


def fill_ridge(
    picture: Picture,
    camera: Camera,
    random: np.random.Generator,
    z: float,
    heights: tuple[float, float],
    step: float,
    colours: npt.ArrayLike,
) -> None:
    """Fill a skyline whose corner heights (m) are uniform in `heights`, one every `step` metres."""
    left, right = visible_span(camera, z)
    xs = np.arange(np.floor(left / step) - 1, np.ceil(right / step) + 2) * step + random.uniform(0, step)
    tops = random.uniform(*heights, len(xs))
    fine = np.linspace(xs[0], xs[-1], len(xs) * 8)
    outline = np.column_stack([fine, np.interp(fine, xs, tops)])
    fill_shape(picture, camera, np.vstack([outline, [(xs[-1], 0), (xs[0], 0)]]), z, colours)


def fill_strips(picture: Picture, camera: Camera, strips: Sequence[tuple[float, float, float, float]], colour: Colour) -> None:
    """Paint rectangles on the ground, each x0, x1, z_near and z_far in metres."""
    for x0, x1, near, far in strips:
        corners = [(x0, near), (x1, near), (x1, far), (x0, far)]
        points = [camera.project(np.array([x, 0.0, z]))[:2] for x, z in corners]
        if max(p[1] for p in points) > 0 and min(p[1] for p in points) < camera.height_px:
            fill_polygon(picture, points, colour)
