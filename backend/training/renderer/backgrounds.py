"""Paint named backgrounds in perspective, so that a zoomed camera sees a zoomed background."""

from collections.abc import Callable
from functools import cache

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from .looks import Colour
from .raster import Camera

Picture = npt.NDArray[np.uint8]
_TEXTURE_PX = 256


class Backdrop(msgspec.Struct, frozen=True):
    """The colours of a background and what stands on it, far to near."""

    sky: tuple[Colour, Colour]  # top, horizon
    ground: tuple[Colour, Colour]  # the two colours its texture mixes
    grain_m: float  # size of the ground texture's features
    things: tuple[str, ...] = ()  # keys of _PAINTERS


BACKDROPS: dict[str, Backdrop] = {
    "plaza": Backdrop(
        ((110, 170, 230), (205, 225, 240)), ((178, 170, 158), (200, 193, 182)), 0.5, ("clouds", "facades", "tiles")
    ),
    "street": Backdrop(
        ((140, 165, 195), (205, 210, 215)), ((78, 78, 82), (96, 96, 98)), 0.4, ("clouds", "towers", "pavement", "lane")
    ),
    "night": Backdrop(((10, 12, 40), (40, 36, 80)), ((38, 38, 50), (52, 50, 62)), 0.5, ("night towers", "lane")),
    "forest": Backdrop(((150, 185, 190), (185, 205, 195)), ((40, 72, 34), (66, 92, 44)), 0.5, ("hedge", "pines")),
    "park": Backdrop(((80, 150, 235), (200, 225, 245)), ((70, 140, 48), (104, 168, 66)), 0.6, ("clouds", "hills", "trees")),
    "beach": Backdrop(((70, 150, 240), (190, 225, 250)), ((226, 202, 148), (240, 220, 172)), 0.35, ("clouds", "sea")),
    "snow": Backdrop(((165, 195, 225), (222, 232, 240)), ((226, 232, 240), (246, 248, 252)), 0.9, ("snow hills", "snow pines")),
    "desert": Backdrop(((245, 190, 110), (250, 228, 180)), ((218, 166, 92), (234, 188, 116)), 0.8, ("dunes", "cacti")),
    "mountains": Backdrop(((120, 160, 210), (205, 218, 230)), ((110, 104, 94), (140, 132, 118)), 0.5, ("clouds", "peaks")),
    "room": Backdrop(((226, 214, 196), (214, 200, 180)), ((140, 92, 52), (160, 108, 64)), 0.25, ("wall", "boards")),
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
    if "clouds" in backdrop.things:
        _clouds(picture, camera, random)
    _paint_ground(picture, camera, backdrop, random)
    for thing in backdrop.things:
        if thing != "clouds":
            _PAINTERS[thing](picture, camera, random)
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


def _polygon(picture: Picture, points: npt.ArrayLike, colour: npt.ArrayLike) -> None:
    fixed = np.round(np.clip(np.asarray(points, np.float64), -20000, 20000) * 16 - 8).astype(np.int32)
    shade = tuple(int(c) for c in np.clip(np.asarray(colour), 0, 255))
    cv2.fillPoly(picture, [fixed], shade, lineType=cv2.LINE_AA, shift=4)


def _box(picture: Picture, camera: Camera, x0: float, y0: float, x1: float, y1: float, z: float, colour: npt.ArrayLike) -> None:
    """Fill the upright rectangle from (x0, y0) to (x1, y1) in metres at depth z."""
    scale = camera.focal_px / z
    left, right = camera.centre_x_px + scale * x0, camera.centre_x_px + scale * x1
    low, high = camera.horizon_y_px - scale * (y0 - camera.height_m), camera.horizon_y_px - scale * (y1 - camera.height_m)
    if right > 0 and left < camera.width_px and low > 0 and high < camera.height_px:
        _polygon(picture, [(left, low), (right, low), (right, high), (left, high)], colour)


def _disc(
    picture: Picture, camera: Camera, x: float, y: float, z: float, radius: float, colour: npt.ArrayLike, flat: float = 1.0
) -> None:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    _shape(picture, camera, np.column_stack([x + radius * np.cos(angles), y + flat * radius * np.sin(angles)]), z, colour)


def _shape(picture: Picture, camera: Camera, metres: npt.ArrayLike, z: float, colour: npt.ArrayLike) -> None:
    """Fill an upright polygon (N, 2) of x, y in metres at depth z."""
    points, scale = np.asarray(metres, np.float64), camera.focal_px / z
    projected = np.column_stack([
        camera.centre_x_px + scale * points[:, 0],
        camera.horizon_y_px - scale * (points[:, 1] - camera.height_m),
    ])  # fmt: skip
    if (projected.max(axis=0) > 0).all() and (projected.min(axis=0) < (camera.width_px, camera.height_px)).all():
        _polygon(picture, projected, colour)


def _span(camera: Camera, z: float) -> tuple[float, float]:
    """Return the visible range of X in metres at depth z."""
    scale = z / camera.focal_px
    return -camera.centre_x_px * scale, (camera.width_px - camera.centre_x_px) * scale


def _ridge(
    picture: Picture,
    camera: Camera,
    random: np.random.Generator,
    z: float,
    heights: tuple[float, float],
    step: float,
    colours: npt.ArrayLike,
) -> None:
    """Fill a skyline whose corner heights (m) are uniform in `heights`, one every `step` metres."""
    left, right = _span(camera, z)
    xs = np.arange(np.floor(left / step) - 1, np.ceil(right / step) + 2) * step + random.uniform(0, step)
    tops = random.uniform(*heights, len(xs))
    fine = np.linspace(xs[0], xs[-1], len(xs) * 8)
    outline = np.column_stack([fine, np.interp(fine, xs, tops)])
    _shape(picture, camera, np.vstack([outline, [(xs[-1], 0), (xs[0], 0)]]), z, colours)


def _clouds(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    left, right = _span(camera, 100)
    for _ in range(int(random.integers(0, 4))):
        x, y = random.uniform(left, right), random.uniform(14, 70)
        for _ in range(4):
            _disc(
                picture,
                camera,
                x + random.uniform(-7, 7),
                y + random.uniform(-1, 1),
                100,
                random.uniform(3, 6),
                (245, 248, 250),
                0.35,
            )


def _buildings(
    picture: Picture,
    camera: Camera,
    random: np.random.Generator,
    z: float,
    colours: list[Colour],
    heights: tuple[float, float],
    lit: Colour,
    storey: float,
) -> None:
    left, right = _span(camera, z)
    x = left - random.uniform(0, 8)
    while x < right:
        width, height = random.uniform(6, 11), random.uniform(*heights)
        wall = np.array(colours[int(random.integers(len(colours)))]) * random.uniform(0.9, 1.08)
        _box(picture, camera, x, 0, x + width, height, z, wall)
        _box(picture, camera, x, height, x + width, height + 0.4, z, wall * 0.75)
        columns = int(width / 2.0)
        for row in np.arange(storey, height - 1.2, storey):
            for column in range(columns):
                centre = x + (column + 0.5) * width / columns
                if lit == (0, 0, 0):
                    pane = np.array((60, 80, 105)) * random.uniform(0.8, 1.4)
                else:
                    pane = np.array(lit) if random.random() < 0.45 else wall * 0.6
                _box(picture, camera, centre - 0.45, row, centre + 0.45, row + 1.5, z, pane)
        x += width + (random.uniform(0.5, 3) if random.random() < 0.3 else 0)


def _facades(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    colours = [(206, 178, 140), (190, 120, 92), (222, 206, 176), (170, 160, 150), (200, 150, 120)]
    _buildings(picture, camera, random, random.uniform(16, 26), colours, (7, 13), (0, 0, 0), 2.8)


def _towers(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    colours = [(120, 124, 132), (150, 92, 76), (98, 104, 116), (170, 164, 156)]
    _buildings(picture, camera, random, random.uniform(18, 30), colours, (9, 22), (0, 0, 0), 3.0)


def _night_towers(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    _buildings(
        picture,
        camera,
        random,
        random.uniform(18, 30),
        [(34, 34, 52), (44, 40, 60), (28, 30, 44)],
        (9, 22),
        (250, 210, 110),
        3.0,
    )


def _ground_lines(
    picture: Picture, camera: Camera, lines: list[tuple[float, float, float, float, float]], colour: Colour
) -> None:
    """Paint ground strips; each is x0, x1 at its near end, x0, x1 shift to the far end 0, z_near, z_far."""
    for x0, x1, shift, near, far in lines:
        corners = [(x0, near), (x1, near), (x1 + shift, far), (x0 + shift, far)]
        points = [camera.project(np.array([x, 0.0, z]))[:2] for x, z in corners]
        if max(p[1] for p in points) > 0 and min(p[1] for p in points) < camera.height_px:
            _polygon(picture, points, colour)


def _tiles(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    far, tile, offset = 14.0, 1.6, random.uniform(0, 1.6)
    left, right = _span(camera, far)
    columns = [(x, x + 0.05, 0.0, 1.0, far) for x in np.arange(np.floor(left / tile), np.ceil(right / tile)) * tile + offset]
    rows = [(left - 30, right + 30, 0.0, z, z + 0.06) for z in np.arange(1.2 + offset, far, tile)]
    _ground_lines(picture, camera, columns + rows, (150, 142, 130))


def _pavement(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    edge = random.uniform(9, 14)
    left, right = _span(camera, 20)
    _ground_lines(picture, camera, [(left - 40, right + 40, 0.0, edge, 18.0)], (150, 150, 150))


def _lane(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    x = random.uniform(-2.5, 2.5)
    _ground_lines(picture, camera, [(x, x + 0.22, 0.0, z, z + 1.4) for z in np.arange(1.5, 12, 2.6)], (225, 222, 205))


def _hedge(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    _ridge(picture, camera, random, 45, (5, 11), 3.0, (44, 78, 50))
    _ridge(picture, camera, random, 32, (2, 6), 2.0, (34, 64, 40))


def _conifers(
    picture: Picture, camera: Camera, random: np.random.Generator, depths: list[float], leaves: Colour, tips: Colour | None
) -> None:
    for z in depths:
        left, right = _span(camera, z)
        x, height = random.uniform(left - 1, right + 1), random.uniform(4.5, 9)
        shade = np.array(leaves) * random.uniform(0.75, 1.15)
        _box(picture, camera, x - 0.16, 0, x + 0.16, 1.2, z, (72, 50, 34))
        for level in range(3):
            low, width = 0.8 + level * height * 0.24, height * (0.24 - 0.055 * level)
            top = low + height * 0.42
            _shape(picture, camera, [(x - width, low), (x + width, low), (x, top)], z, shade * (0.92 + 0.08 * level))
            if tips is not None:
                _shape(
                    picture,
                    camera,
                    [(x - width * 0.4, low + 0.6 * (top - low)), (x + width * 0.4, low + 0.6 * (top - low)), (x, top)],
                    z,
                    tips,
                )


def _pines(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    depths = np.sort(random.uniform(9, 26, int(random.integers(6, 12))))[::-1].tolist()
    _conifers(picture, camera, random, depths, (34, 84, 46), None)


def _snow_pines(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    depths = np.sort(random.uniform(12, 28, int(random.integers(1, 5))))[::-1].tolist()
    _conifers(picture, camera, random, depths, (46, 88, 66), (236, 240, 246))


def _trees(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    for z in np.sort(random.uniform(11, 28, int(random.integers(1, 5))))[::-1]:
        left, right = _span(camera, float(z))
        x, height = random.uniform(left - 1, right + 1), random.uniform(2.2, 3.6)
        _box(picture, camera, x - 0.18, 0, x + 0.18, height, float(z), (96, 66, 42))
        leaf = np.array((52, 122, 46)) * random.uniform(0.85, 1.15)
        for dx, dy in ((-0.8, 0.4), (0.8, 0.5), (0.0, 1.2)):
            _disc(picture, camera, x + dx, height + dy, float(z), 1.25, leaf)


def _hills(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    _ridge(picture, camera, random, 70, (3, 8), 16, (110, 160, 110))
    _ridge(picture, camera, random, 45, (1, 4), 12, (84, 148, 70))


def _snow_hills(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    _ridge(picture, camera, random, 70, (2, 9), 18, (206, 218, 232))


def _dunes(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    _ridge(picture, camera, random, 60, (2, 8), 18, (226, 172, 96))
    _ridge(picture, camera, random, 40, (0.5, 3), 14, (208, 152, 80))


def _peaks(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    _ridge(picture, camera, random, 150, (15, 60), 35, (128, 138, 158))
    _ridge(picture, camera, random, 100, (6, 28), 22, (98, 102, 112))


def _sea(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    shore = random.uniform(11, 20)
    y = camera.project(np.array([0.0, 0.0, shore]))[1]
    bottom = int(np.clip(y, 0, camera.height_px))
    top = int(np.clip(camera.horizon_y_px, 0, camera.height_px))
    if bottom > top:
        blend = np.linspace(0, 1, bottom - top)[:, None, None]
        picture[top:bottom] = (np.array((28, 96, 170)) * (1 - blend) + np.array((60, 150, 200)) * blend).astype(np.uint8)
    _ground_lines(picture, camera, [(-200, 200, 0.0, shore - 0.5, shore + 0.3)], (240, 246, 250))


def _cacti(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    for z in random.uniform(12, 26, int(random.integers(0, 4))):
        left, right = _span(camera, float(z))
        x, height, green = random.uniform(left, right), random.uniform(2, 3.4), (66, 126, 66)
        _box(picture, camera, x - 0.22, 0, x + 0.22, height, float(z), green)
        for sign in (-1, 1):
            tip = x + sign * 0.85
            _box(picture, camera, min(x, tip), 1.0, max(x, tip), 1.32, float(z), green)
            _box(picture, camera, tip - 0.16, 1.0, tip + 0.16, random.uniform(1.7, 2.4), float(z), green)


def _wall(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    z = random.uniform(7.5, 10)
    left, right = _span(camera, z)
    wall = np.array(((222, 208, 186), (196, 210, 206), (214, 196, 176))[int(random.integers(3))])
    _box(picture, camera, left - 5, 0, right + 5, 60, z, wall)
    _box(picture, camera, left - 5, 0, right + 5, 0.16, z, (244, 240, 232))
    for x in np.arange(np.floor(left / 3.2), np.ceil(right / 3.2)) * 3.2 + random.uniform(0, 3.2):
        choice = random.random()
        if choice < 0.4:  # a window
            _box(picture, camera, x - 0.75, 1.0, x + 0.75, 2.4, z, (246, 244, 240))
            for side in (-0.66, 0.04):
                _box(picture, camera, x + side, 1.1, x + side + 0.62, 2.3, z, (158, 202, 236))
        elif choice < 0.75:  # a painting
            _box(picture, camera, x - 0.5, 1.3, x + 0.5, 2.1, z, (86, 58, 36))
            _box(picture, camera, x - 0.42, 1.38, x + 0.42, 2.02, z, random.integers(60, 230, 3))


def _boards(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    left, right = _span(camera, 7.5)
    offset = random.uniform(0, 0.4)
    _ground_lines(
        picture,
        camera,
        [(x, x + 0.02, 0.0, 1.0, 7.5) for x in np.arange(np.floor(left / 0.4), np.ceil(right / 0.4)) * 0.4 + offset],
        (112, 72, 40),
    )


Painter = Callable[[Picture, Camera, np.random.Generator], None]
_PAINTERS: dict[str, Painter] = {
    "facades": _facades, "towers": _towers, "night towers": _night_towers,
    "tiles": _tiles, "pavement": _pavement, "lane": _lane, "hedge": _hedge, "pines": _pines,
    "snow pines": _snow_pines, "trees": _trees, "hills": _hills, "snow hills": _snow_hills,
    "dunes": _dunes, "peaks": _peaks, "sea": _sea, "cacti": _cacti, "wall": _wall, "boards": _boards,
}  # fmt: skip
