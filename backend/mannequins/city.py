"""Paint what backgrounds of towns and rooms are made of."""

import numpy as np

from .looks import Colour
from .raster import Camera
from .shapes import Picture, fill_box, fill_strips, visible_span


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
    left, right = visible_span(camera, z)
    x = left - random.uniform(0, 8)
    while x < right:
        width, height = random.uniform(6, 11), random.uniform(*heights)
        wall = np.array(colours[int(random.integers(len(colours)))]) * random.uniform(0.9, 1.08)
        fill_box(picture, camera, x, 0, x + width, height, z, wall)
        fill_box(picture, camera, x, height, x + width, height + 0.4, z, wall * 0.75)
        columns = int(width / 2.0)
        for row in np.arange(storey, height - 1.2, storey):
            for column in range(columns):
                centre = x + (column + 0.5) * width / columns
                if lit == (0, 0, 0):
                    pane = np.array((60, 80, 105)) * random.uniform(0.8, 1.4)
                else:
                    pane = np.array(lit) if random.random() < 0.45 else wall * 0.6
                fill_box(picture, camera, centre - 0.45, row, centre + 0.45, row + 1.5, z, pane)
        x += width + (random.uniform(0.5, 3) if random.random() < 0.3 else 0)


def paint_facades(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    colours = [(206, 178, 140), (190, 120, 92), (222, 206, 176), (170, 160, 150), (200, 150, 120)]
    _buildings(picture, camera, random, random.uniform(16, 26), colours, (7, 13), (0, 0, 0), 2.8)


def paint_towers(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    colours = [(120, 124, 132), (150, 92, 76), (98, 104, 116), (170, 164, 156)]
    _buildings(picture, camera, random, random.uniform(18, 30), colours, (9, 22), (0, 0, 0), 3.0)


def paint_night_towers(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
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


def paint_tiles(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    far, tile, offset = 14.0, 1.6, random.uniform(0, 1.6)
    left, right = visible_span(camera, far)
    columns = [(x, x + 0.05, 1.0, far) for x in np.arange(np.floor(left / tile), np.ceil(right / tile)) * tile + offset]
    rows = [(left - 30, right + 30, z, z + 0.06) for z in np.arange(1.2 + offset, far, tile)]
    fill_strips(picture, camera, columns + rows, (150, 142, 130))


def paint_pavement(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    edge = random.uniform(9, 14)
    left, right = visible_span(camera, 20)
    fill_strips(picture, camera, [(left - 40, right + 40, edge, 18.0)], (150, 150, 150))


def paint_lane(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    x = random.uniform(-2.5, 2.5)
    fill_strips(picture, camera, [(x, x + 0.22, z, z + 1.4) for z in np.arange(1.5, 12, 2.6)], (225, 222, 205))


def paint_wall(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    z = random.uniform(7.5, 10)
    left, right = visible_span(camera, z)
    wall = np.array(((222, 208, 186), (196, 210, 206), (214, 196, 176))[int(random.integers(3))])
    fill_box(picture, camera, left - 5, 0, right + 5, 60, z, wall)
    fill_box(picture, camera, left - 5, 0, right + 5, 0.16, z, (244, 240, 232))
    for x in np.arange(np.floor(left / 3.2), np.ceil(right / 3.2)) * 3.2 + random.uniform(0, 3.2):
        choice = random.random()
        if choice < 0.4:  # a window
            fill_box(picture, camera, x - 0.75, 1.0, x + 0.75, 2.4, z, (246, 244, 240))
            for side in (-0.66, 0.04):
                fill_box(picture, camera, x + side, 1.1, x + side + 0.62, 2.3, z, (158, 202, 236))
        elif choice < 0.75:  # a painting
            fill_box(picture, camera, x - 0.5, 1.3, x + 0.5, 2.1, z, (86, 58, 36))
            fill_box(picture, camera, x - 0.42, 1.38, x + 0.42, 2.02, z, random.integers(60, 230, 3))


def paint_boards(picture: Picture, camera: Camera, random: np.random.Generator) -> None:
    left, right = visible_span(camera, 7.5)
    offset = random.uniform(0, 0.4)
    fill_strips(
        picture,
        camera,
        [(x, x + 0.02, 1.0, 7.5) for x in np.arange(np.floor(left / 0.4), np.ceil(right / 0.4)) * 0.4 + offset],
        (112, 72, 40),
    )
