"""Paint what backgrounds of the country are made of."""

import numpy as np

from .looks import Colour
from .raster import Camera
from .shapes import Picture, fill_box, fill_disc, fill_ridge, fill_shape, fill_strips, visible_span


def paint_clouds(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    left, right = visible_span(camera, 100)
    for _ in range(int(random.integers(0, 4))):
        x, y = random.uniform(left, right), random.uniform(14, 70)
        for _ in range(4):
            fill_disc(
                picture,
                camera,
                x + random.uniform(-7, 7),
                y + random.uniform(-1, 1),
                100,
                random.uniform(3, 6),
                (245, 248, 250),
                0.35,
            )


def paint_hedge(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    fill_ridge(picture, camera, random, 45, (5, 11), 3.0, (44, 78, 50))
    fill_ridge(picture, camera, random, 32, (2, 6), 2.0, (34, 64, 40))


def _conifers(
    picture: Picture, camera: Camera, random: np.random.Generator, depths: list[float], leaves: Colour, tips: Colour | None
) -> None:
    for z in depths:
        left, right = visible_span(camera, z)
        x, height = random.uniform(left - 1, right + 1), random.uniform(4.5, 9)
        shade = np.array(leaves) * random.uniform(0.75, 1.15)
        fill_box(picture, camera, x - 0.16, 0, x + 0.16, 1.2, z, (72, 50, 34))
        for level in range(3):
            low, width = 0.8 + level * height * 0.24, height * (0.24 - 0.055 * level)
            top = low + height * 0.42
            fill_shape(picture, camera, [(x - width, low), (x + width, low), (x, top)], z, shade * (0.92 + 0.08 * level))
            if tips is not None:
                fill_shape(
                    picture,
                    camera,
                    [(x - width * 0.4, low + 0.6 * (top - low)), (x + width * 0.4, low + 0.6 * (top - low)), (x, top)],
                    z,
                    tips,
                )


def paint_pines(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    depths = np.sort(random.uniform(9, 26, int(random.integers(6, 12))))[::-1].tolist()
    _conifers(picture, camera, random, depths, (34, 84, 46), None)


def paint_snow_pines(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    depths = np.sort(random.uniform(12, 28, int(random.integers(1, 5))))[::-1].tolist()
    _conifers(picture, camera, random, depths, (46, 88, 66), (236, 240, 246))


def paint_trees(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    for z in np.sort(random.uniform(11, 28, int(random.integers(1, 5))))[::-1]:
        left, right = visible_span(camera, float(z))
        x, height = random.uniform(left - 1, right + 1), random.uniform(2.2, 3.6)
        fill_box(picture, camera, x - 0.18, 0, x + 0.18, height, float(z), (96, 66, 42))
        leaf = np.array((52, 122, 46)) * random.uniform(0.85, 1.15)
        for dx, dy in ((-0.8, 0.4), (0.8, 0.5), (0.0, 1.2)):
            fill_disc(picture, camera, x + dx, height + dy, float(z), 1.25, leaf)


def paint_hills(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    fill_ridge(picture, camera, random, 70, (3, 8), 16, (110, 160, 110))
    fill_ridge(picture, camera, random, 45, (1, 4), 12, (84, 148, 70))


def paint_snow_hills(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    fill_ridge(picture, camera, random, 70, (2, 9), 18, (206, 218, 232))


def paint_dunes(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    fill_ridge(picture, camera, random, 60, (2, 8), 18, (226, 172, 96))
    fill_ridge(picture, camera, random, 40, (0.5, 3), 14, (208, 152, 80))


def paint_peaks(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    fill_ridge(picture, camera, random, 150, (15, 60), 35, (128, 138, 158))
    fill_ridge(picture, camera, random, 100, (6, 28), 22, (98, 102, 112))


def paint_sea(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    shore = random.uniform(11, 20)
    y = camera.project(np.array([0.0, 0.0, shore]))[1]
    bottom = int(np.clip(y, 0, camera.height_px))
    top = int(np.clip(camera.horizon_y_px, 0, camera.height_px))
    if bottom > top:
        blend = np.linspace(0, 1, bottom - top)[:, None, None]
        picture[top:bottom] = (np.array((28, 96, 170)) * (1 - blend) + np.array((60, 150, 200)) * blend).astype(np.uint8)
    fill_strips(picture, camera, [(-200, 200, shore - 0.5, shore + 0.3)], (240, 246, 250))


def paint_cacti(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    for z in random.uniform(12, 26, int(random.integers(0, 4))):
        left, right = visible_span(camera, float(z))
        x, height, green = random.uniform(left, right), random.uniform(2, 3.4), (66, 126, 66)
        fill_box(picture, camera, x - 0.22, 0, x + 0.22, height, float(z), green)
        for sign in (-1, 1):
            tip = x + sign * 0.85
            fill_box(picture, camera, min(x, tip), 1.0, max(x, tip), 1.32, float(z), green)
            fill_box(picture, camera, tip - 0.16, 1.0, tip + 0.16, random.uniform(1.7, 2.4), float(z), green)
