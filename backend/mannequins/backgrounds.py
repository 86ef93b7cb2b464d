"""Paint named backgrounds in perspective, so that a zoomed camera sees a zoomed background."""

from collections.abc import Callable
from functools import cache

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from . import city, nature
from .looks import Colour
from .raster import Camera
from .shapes import Picture

Painter = Callable[[Picture, Camera, np.random.Generator], None]
_TEXTURE_PX = 256


class Backdrop(msgspec.Struct, frozen=True):
    """The colours of a background and what stands on it, far to near."""

    sky: tuple[Colour, Colour]  # top, horizon
    ground: tuple[Colour, Colour]  # the two colours its texture mixes
    grain_m: float  # size of the ground texture's features
    things: tuple[Painter, ...] = ()
    cloudy: bool = False


BACKDROPS: dict[str, Backdrop] = {
    "plaza": Backdrop(
        ((110, 170, 230), (205, 225, 240)),
        ((178, 170, 158), (200, 193, 182)),
        0.5,
        (city.paint_facades, city.paint_tiles),
        cloudy=True,
    ),
    "street": Backdrop(
        ((140, 165, 195), (205, 210, 215)),
        ((78, 78, 82), (96, 96, 98)),
        0.4,
        (city.paint_towers, city.paint_pavement, city.paint_lane),
        cloudy=True,
    ),
    "night": Backdrop(
        ((10, 12, 40), (40, 36, 80)), ((38, 38, 50), (52, 50, 62)), 0.5, (city.paint_night_towers, city.paint_lane)
    ),
    "forest": Backdrop(
        ((150, 185, 190), (185, 205, 195)), ((40, 72, 34), (66, 92, 44)), 0.5, (nature.paint_hedge, nature.paint_pines)
    ),
    "park": Backdrop(
        ((80, 150, 235), (200, 225, 245)),
        ((70, 140, 48), (104, 168, 66)),
        0.6,
        (nature.paint_hills, nature.paint_trees),
        cloudy=True,
    ),
    "beach": Backdrop(
        ((70, 150, 240), (190, 225, 250)), ((226, 202, 148), (240, 220, 172)), 0.35, (nature.paint_sea,), cloudy=True
    ),
    "snow": Backdrop(
        ((165, 195, 225), (222, 232, 240)),
        ((226, 232, 240), (246, 248, 252)),
        0.9,
        (nature.paint_snow_hills, nature.paint_snow_pines),
    ),
    "desert": Backdrop(
        ((245, 190, 110), (250, 228, 180)), ((218, 166, 92), (234, 188, 116)), 0.8, (nature.paint_dunes, nature.paint_cacti)
    ),
    "mountains": Backdrop(
        ((120, 160, 210), (205, 218, 230)), ((110, 104, 94), (140, 132, 118)), 0.5, (nature.paint_peaks,), cloudy=True
    ),
    "room": Backdrop(
        ((226, 214, 196), (214, 200, 180)), ((140, 92, 52), (160, 108, 64)), 0.25, (city.paint_wall, city.paint_boards)
    ),
    "plain": Backdrop(((205, 207, 210), (188, 190, 194)), ((170, 172, 176), (176, 178, 182)), 1.0),
}


def paint_background(scene: str, camera: Camera, random: np.random.Generator) -> Picture:
    """Return the background `scene` seen by `camera`: uint8 (H, W, 3), RGB."""
    backdrop = BACKDROPS[scene]
    picture = np.empty((camera.height_px, camera.width_px, 3), np.uint8)
    rows = np.arange(camera.height_px, dtype=np.float32) + 0.5
    # The sky's gradient spans about 40 degrees above the horizon.
    high = np.clip((camera.horizon_y_px - rows) / (0.8 * camera.focal_px), 0, 1)[:, None]
    tint = 1 + random.normal(0, 0.03, 3)
    sky = (np.array(backdrop.sky[0]) * high + np.array(backdrop.sky[1]) * (1 - high)) * tint
    picture[:] = np.clip(sky, 0, 255)[:, None].astype(np.uint8)
    if backdrop.cloudy:
        nature.paint_clouds(picture, camera, random)
    _paint_ground(picture, camera, backdrop, random)
    for paint in backdrop.things:
        paint(picture, camera, random)
    return picture


def _paint_ground(picture: Picture, camera: Camera, backdrop: Backdrop, random: np.random.Generator) -> None:
    top = int(np.clip(np.ceil(camera.horizon_y_px), 0, camera.height_px))
    if top >= camera.height_px:
        return
    ys = np.arange(top, camera.height_px, dtype=np.float32)[:, None] + 0.5
    xs = np.arange(camera.width_px, dtype=np.float32)[None] + 0.5
    depth = camera.focal_px * camera.height_m / np.maximum(ys - camera.horizon_y_px, 0.5)
    texels_per_m = 8 / backdrop.grain_m
    u = (xs - camera.centre_x_px) * depth / camera.focal_px * texels_per_m + random.uniform(0, _TEXTURE_PX)
    v = np.broadcast_to(depth * texels_per_m + random.uniform(0, _TEXTURE_PX), u.shape)
    noise = cv2.remap(_noise(), u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    # Features smaller than a pixel fade into their mean instead of flickering.
    sharp = np.clip(camera.focal_px * backdrop.grain_m / depth * camera.height_m / depth / 3, 0, 1)
    amount = (0.5 + (noise - 0.5) * sharp)[..., None]
    dark, light = (np.array(colour, np.float32) for colour in backdrop.ground)
    picture[top:] = np.clip(dark + (light - dark) * amount, 0, 255).astype(np.uint8)


@cache
def _noise() -> npt.NDArray[np.float32]:
    """Smooth tileable noise (256, 256), 0..1, features of about 8 texels."""
    random = np.random.default_rng(7)
    total = np.zeros((_TEXTURE_PX, _TEXTURE_PX), np.float32)
    for sigma, weight in ((3.0, 1.0), (8.0, 1.2)):
        white = np.tile(random.normal(size=(_TEXTURE_PX, _TEXTURE_PX)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(white, (0, 0), sigma)[_TEXTURE_PX : 2 * _TEXTURE_PX, _TEXTURE_PX : 2 * _TEXTURE_PX]
        total += weight * smooth / smooth.std()
    return np.clip(0.5 + total / total.std() * 0.25, 0, 1)
