"""The z-buffer against shapes whose picture is known."""

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("bpy")

from beyondscene.addon.exporters import raster
from beyondscene.addon.exporters.raster import ZBuffer, frame_planes
from beyondscene.addon.exporters.view import View
from beyondscene.protocol import Camera

IDENTITY = tuple(np.eye(4).ravel().tolist())
Buffer = Callable[..., ZBuffer]


@pytest.fixture
def buffer() -> Buffer:
    """A picture of 160x120 px, looking along z from the origin; 100 px to the metre, at 1 m if perspective."""

    def make(projection: str = "perspective", near: float = 0.1, far: float = 100, with_front: bool = False) -> ZBuffer:
        camera = Camera(projection=projection, fx=100, fy=100, cx=80, cy=60, camera_from_world=IDENTITY)  # pyright: ignore[reportArgumentType]
        return ZBuffer(View(camera, 160, 120, near, far, metres=1), with_front=with_front)

    return make


def quad(left: float, top: float, right: float, bottom: float, depth: float) -> np.ndarray:
    a, b, c, d = ((x, y, depth) for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)))
    return np.array([(a, b, c), (a, c, d)], float)


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_a_square_covers_the_pixels_whose_centres_it_covers(buffer: Buffer, projection: str) -> None:
    scene = buffer(projection)
    scale = 2 if projection == "perspective" else 1  # twice as far, half as large
    scene.draw(quad(-0.5 * scale, -0.2 * scale, 0.3 * scale, 0.4 * scale, 2))
    expected = np.full((120, 160), np.inf)
    expected[40:100, 30:110] = 2
    np.testing.assert_allclose(scene.depth, expected, rtol=1e-5)


def test_the_nearer_one_is_seen_in_whichever_order_they_are_drawn(buffer: Buffer) -> None:
    far, near = quad(-1, -1, 1, 1, 4), quad(-0.2, -0.2, 0.2, 0.2, 1)
    pictures = []
    for order in ((far, near), (near, far), (np.concatenate([near, far]),)):
        scene = buffer()
        for triangles in order:
            scene.draw(triangles)
        pictures.append(scene.depth)
        assert scene.depth[60, 80] == 1 and scene.depth[60, 58] == 4
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_a_mesh_of_millions_takes_no_more_memory_than_a_part_of_it(buffer: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    triangles = random.uniform((-1, -1, 1), (1, 1, 4), (90, 1, 3)) + random.uniform(-0.2, 0.2, (90, 3, 3))
    whole = buffer()
    whole.draw(triangles)
    assert np.isfinite(whole.depth).any()
    drawn: list[int] = []
    clip = raster.clip_near
    monkeypatch.setattr(raster, "clip_near", lambda some, near: drawn.append(len(some)) or clip(some, near))
    monkeypatch.setattr(raster, "BATCH_TRIANGLES", 40)
    parts = buffer(with_front=True)
    parts.draw(triangles)
    np.testing.assert_array_equal(parts.depth, whole.depth)
    assert drawn == [40, 40, 10] and parts.front.max() > 80


def test_a_floor_that_runs_under_the_camera_is_cut_at_the_near_plane(buffer: Buffer) -> None:
    scene = buffer(near=0.5)
    a, b, c, d = (-50, 1, -50), (50, 1, -50), (50, 1, 50), (-50, 1, 50)
    scene.draw(np.array([(a, b, c), (a, c, d)], float))
    rows = np.arange(120) + 0.5
    expected = np.where(rows > 62, 100 / np.maximum(rows - 60, 1e-9), np.inf)  # 1 m down; it ends 50 m ahead
    np.testing.assert_allclose(scene.depth[:, 80], expected, rtol=1e-4)
    behind = buffer()
    behind.draw(quad(-1, -1, 1, 1, -2))
    assert np.isinf(behind.depth).all()


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_nothing_is_seen_beyond_the_far_plane(buffer: Buffer, projection: str) -> None:
    scene = buffer(projection, far=3)
    scene.draw(np.array([[(-50, -50, 2), (50, -50, 2), (0, 50, 4)]], float))
    depth, everything = scene.depth, buffer(projection)
    everything.draw(np.array([[(-50, -50, 2), (50, -50, 2), (0, 50, 4)]], float))
    seen = everything.depth <= 3
    assert seen.any() and not seen.all()
    np.testing.assert_array_equal(depth, np.where(seen, everything.depth, np.inf))


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_small_and_large_triangles_make_the_same_surface_without_a_seam(buffer: Buffer, projection: str) -> None:
    def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([x, y, 2 + 0.3 * x + 0.2 * y], -1)

    def surface(count: int) -> np.ndarray:
        x, y = np.meshgrid(np.linspace(-3, 3, count + 1), np.linspace(-3, 3, count + 1))
        p = slope(x, y)
        a, b, c, d = (part.reshape(-1, 3) for part in (p[:-1, :-1], p[:-1, 1:], p[1:, 1:], p[1:, :-1]))
        return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])

    coarse, fine = buffer(projection), buffer(projection)
    coarse.draw(surface(1))
    fine.draw(surface(300))
    assert np.isfinite(coarse.depth).all()
    np.testing.assert_allclose(coarse.depth, fine.depth, rtol=1e-4)


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_what_is_drawn_together_looks_as_if_each_was_drawn_alone(buffer: Buffer, projection: str) -> None:
    together, alone = buffer(projection), buffer(projection)
    centres = np.random.default_rng(0).uniform((-3, -3, -1), (3, 3, 6), (400, 1, 1, 3))
    for triangles in centres + np.random.default_rng(1).normal(0, 0.4, (400, 8, 3, 3)):
        together.draw(triangles)
        alone.draw(triangles)
        assert alone.depth.shape == (120, 160)
    assert np.isfinite(alone.depth).mean() > 0.2
    np.testing.assert_array_equal(together.depth, alone.depth)


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_whatever_draws_a_pixel_is_within_the_planes_of_the_frame(buffer: Buffer, projection: str) -> None:
    planes = frame_planes(buffer(projection, far=5).view)
    beside = 0
    for triangles in np.random.default_rng(0).uniform((-4, -4, -2), (4, 4, 6), (500, 1, 3, 3)):
        scene = buffer(projection, far=5)
        scene.draw(triangles)
        missed = (np.concatenate([triangles[0], np.ones((3, 1))], 1) @ planes.T).max(0).min() < 0
        assert not (missed and np.isfinite(scene.depth).any())
        beside += missed
    assert beside > 20


def test_what_is_outside_the_frame_or_has_no_area_draws_nothing(buffer: Buffer) -> None:
    scene = buffer()
    scene.draw(quad(5, 5, 6, 6, 2))
    scene.draw(np.array([[(0, 0, 2), (0.1, 0, 2), (0.2, 0, 2)]], float))
    scene.draw(np.zeros((0, 3, 3)))
    assert np.isinf(scene.depth).all()
