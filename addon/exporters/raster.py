"""A z-buffer in numpy: triangles through the camera, without a GPU, so that it works where Blender has no window."""

from collections.abc import Iterator

import numpy as np

from .view import View

TILES = (2, 4, 8, 16, 32, 64)  # px; a triangle is drawn in the smallest that its box fits, a larger one in several
BATCH_PX = 1 << 18  # pixels tried at once: few enough to stay in a processor's cache
BATCH_TRIANGLES = 1 << 15  # drawn together: a tuft of grass alone would cost a hundred times as much, millions leave the cache
SLACK_PX = 1e-3  # edges reach this far out, so that no rounding opens a seam between neighbours
FLAT_PX = 1e-8  # twice the area below which a triangle is seen edge-on


class ZBuffer:
    """How far the nearest of the drawn surfaces is, at the centre of each pixel of a view.

    Triangles are cut at its near plane; beyond its far plane nothing is seen.
    """

    def __init__(self, view: View, *, with_front: bool = False) -> None:
        """with_front: keep which triangle is seen as well."""
        self.view = view
        self._perspective = view.camera.projection == "perspective"
        # grows towards the camera and is linear across a triangle in the picture: 1/depth, or -depth without perspective
        self._nearness = np.full((view.height, view.width), 0 if self._perspective else -np.inf, np.float32)
        self._front = np.full((view.height, view.width), -1, np.int32) if with_front else None
        self._drawn = 0  # triangles so far
        self._waiting: list[np.ndarray] = []  # to be drawn together
        self._waiting_count = 0

    @property
    def depth(self) -> np.ndarray:
        """float32 (height, width), row 0 at the top, metres along the view axis; infinite where nothing is seen."""
        self._draw_waiting()
        with np.errstate(divide="ignore"):
            depth = 1 / self._nearness if self._perspective else -self._nearness
        return np.where(depth > self.view.far, np.float32(np.inf), depth)

    @property
    def front(self) -> np.ndarray:
        """int32 (height, width): which triangle is seen, counted over all that were drawn; -1 where none is."""
        assert self._front is not None
        return np.where(np.isfinite(self.depth), self._front, -1)

    def draw(self, triangles: np.ndarray) -> None:
        """Draw `triangles`, float (N, 3, 3) metres in the world's frame, both of their sides, before anything is read."""
        self._waiting.append(triangles)
        self._waiting_count += len(triangles)
        if self._waiting_count >= BATCH_TRIANGLES:
            self._draw_waiting()

    def _draw_waiting(self) -> None:
        if not self._waiting_count:
            return
        triangles = np.concatenate(self._waiting)
        self._waiting, self._waiting_count = [], 0
        for first in range(0, len(triangles), BATCH_TRIANGLES):
            self._draw_together(triangles[first : first + BATCH_TRIANGLES])

    def _draw_together(self, triangles: np.ndarray) -> None:
        camera, count = self.view.camera, len(triangles)
        camera_from_world = np.reshape(camera.camera_from_world, (4, 4))
        triangles, source = clip_near(triangles @ camera_from_world[:3, :3].T + camera_from_world[:3, 3], self.view.near)
        source, self._drawn = source + self._drawn, self._drawn + count
        depth = triangles[..., 2]
        scale = 1 / depth if self._perspective else np.ones_like(depth)
        x = camera.fx * triangles[..., 0] * scale + camera.cx
        y = camera.fy * triangles[..., 1] * scale + camera.cy
        area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
        left, right = pixel_range(x, self.view.width)
        top, bottom = pixel_range(y, self.view.height)
        kept = np.flatnonzero((np.abs(area) > FLAT_PX) & (left < right) & (top < bottom))
        if not kept.size:
            return
        nearness = (scale if self._perspective else -depth)[kept]
        planes = find_planes(x[kept], y[kept], area[kept], nearness)  # (n, 4, 3)
        limits = np.stack([nearness.min(1), nearness.max(1)], 1).astype(np.float32)
        boxes, source = np.stack([left, top, right, bottom], 1)[kept], source[kept]
        for tile, index, corners in cut_into_tiles(boxes, planes):
            self._fill(tile, corners, boxes[index], planes[index], limits[index], source[index])

    def _fill(
        self, tile: int, corners: np.ndarray, boxes: np.ndarray, planes: np.ndarray, limits: np.ndarray, source: np.ndarray
    ) -> None:
        """Draw one triangle in each of n tiles. corners: (n, 2), x and y of their first pixel. source: (n,), their numbers."""
        centre = corners + 0.5
        start = (planes[..., 2] + (planes[..., :2] * centre[:, None]).sum(-1)).astype(np.float32)  # (n, 4)
        slope = planes[..., :2].astype(np.float32)
        steps = np.arange(tile, dtype=np.float32)
        along_x = start[..., None] + slope[..., :1] * steps  # (n, 4, tile)
        along_y = slope[..., 1:] * steps
        inside = np.ones((len(corners), tile, tile), bool)
        for edge in range(3):
            inside &= along_x[:, edge, None, :] + along_y[:, edge, :, None] >= -SLACK_PX
        inside &= (corners[:, :1] + np.arange(tile) < boxes[:, 2:3])[:, None, :]
        inside &= (corners[:, 1:] + np.arange(tile) < boxes[:, 3:])[:, :, None]
        which, row, column = np.nonzero(inside)
        # clipped, since a triangle that is seen almost edge-on would shoot far ahead within the slack
        value = np.clip(along_x[which, 3, column] + along_y[which, 3, row], limits[which, 0], limits[which, 1])
        pixel = (corners[which, 1] + row) * self.view.width + corners[which, 0] + column
        np.maximum.at(self._nearness.reshape(-1), pixel, value)
        if self._front is not None:
            won = self._nearness.reshape(-1)[pixel] == value
            self._front.reshape(-1)[pixel[won]] = source[which[won]]


def frame_planes(view: View) -> np.ndarray:
    """(6, 4): left, right, top and bottom of the picture, a pixel further out, the near and the far plane.

    By each a point of the world, (x, y, z, 1) in metres, that may be seen is not negative; nothing is seen of what lies between
    points that are all negative by one.
    """
    m = 1.0
    camera, width, height, near, far, _ = view
    if camera.projection == "perspective":
        sides = [(camera.fx, 0, camera.cx + m, 0), (-camera.fx, 0, width + m - camera.cx, 0)]
        sides += [(0, camera.fy, camera.cy + m, 0), (0, -camera.fy, height + m - camera.cy, 0)]
    else:
        sides = [(camera.fx, 0, 0, camera.cx + m), (-camera.fx, 0, 0, width + m - camera.cx)]
        sides += [(0, camera.fy, 0, camera.cy + m), (0, -camera.fy, 0, height + m - camera.cy)]
    return np.array([*sides, (0, 0, 1, -0.999 * near), (0, 0, -1, 1.001 * far)]) @ np.reshape(camera.camera_from_world, (4, 4))


def clip_near(triangles: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3, 3) in the camera's frame to (M, 3, 3), what of them lies beyond `near` metres, and of which of N each is, (M,)."""
    ahead = triangles[..., 2] >= near
    count = ahead.sum(1)
    pieces, sources = [triangles[count == 3]], [np.flatnonzero(count == 3)]
    for lone_is_ahead in (True, False):
        crossing = np.flatnonzero(count == (1 if lone_is_ahead else 2))
        # turned so that the first corner is the one that stands alone on its side of the plane
        lone = np.argmax(ahead[crossing] == lone_is_ahead, 1)
        a, b, c = np.take_along_axis(triangles[crossing], ((lone[:, None] + np.arange(3)) % 3)[..., None], 1).swapaxes(0, 1)
        ab, ac = cross_plane(a, b, near), cross_plane(a, c, near)
        parts = [np.stack([a, ab, ac], 1)] if lone_is_ahead else [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
        pieces += parts
        sources += [crossing] * len(parts)
    return np.concatenate(pieces), np.concatenate(sources)


def cross_plane(start: np.ndarray, end: np.ndarray, near: float) -> np.ndarray:
    """Where the lines from `start` to `end`, (N, 3), which lie on both sides, meet the plane `near` metres ahead."""
    share = (near - start[:, 2:]) / (end[:, 2:] - start[:, 2:])
    met = start + share * (end - start)
    met[:, 2] = near
    return met


def pixel_range(places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel, and one past the last, whose centres lie among `places`, (N, 3) px, within a side of `size` px."""
    first = np.ceil(places.min(1) - 0.5 - SLACK_PX)
    last = np.floor(places.max(1) - 0.5 + SLACK_PX) + 1
    first, last = (np.nan_to_num(np.clip(one, 0, size)) for one in (first, last))  # broken places have none in the picture
    return first.astype(np.int64), last.astype(np.int64)


def find_planes(x: np.ndarray, y: np.ndarray, area: np.ndarray, nearness: np.ndarray) -> np.ndarray:
    """(N, 4, 3): a, b, c of a x + b y + c for px inwards from each edge, then for the nearness; all inputs (N, 3)."""
    x1, y1 = np.roll(x, -1, 1), np.roll(y, -1, 1)
    x2, y2 = np.roll(x, -2, 1), np.roll(y, -2, 1)
    # share of corner k at a point: the area of the point with the other two corners
    shares = np.stack([y1 - y2, x2 - x1, x1 * y2 - x2 * y1], -1) / area[:, None, None]
    edges = shares / np.maximum(np.linalg.norm(shares[..., :2], axis=-1, keepdims=True), 1e-30)
    return np.concatenate([edges, np.einsum("nk,nkc->nc", nearness, shares)[:, None]], 1)


def cut_into_tiles(boxes: np.ndarray, planes: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Side of a tile in px, triangles by index, and (n, 2) the tiles' first pixels, BATCH_PX at a time.

    boxes: (N, 4) left, top, right, bottom. planes: as of find_planes; tiles that lie outside an edge are left out.
    """
    side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    smaller = 0
    for tile in TILES:
        largest = tile == TILES[-1]
        index = np.flatnonzero((side > smaller) & ((side <= tile) | largest))
        smaller = tile
        columns, rows = (-(-(boxes[index, 2 + axis] - boxes[index, axis]) // tile) for axis in (0, 1))
        count = columns * rows
        number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)  # of each tile in its triangle
        columns, index = np.repeat(columns, count), np.repeat(index, count)
        corners = boxes[index, :2] + tile * np.stack([number % columns, number // columns], 1)
        if largest:
            slope = planes[index, :3, :2]
            at_corner = planes[index, :3, 2] + (slope * (corners + 0.5)[:, None]).sum(-1)
            touched = (at_corner + np.maximum(slope, 0).sum(-1) * (tile - 1) >= -SLACK_PX).all(1)
            index, corners = index[touched], corners[touched]
        step = max(1, BATCH_PX // tile**2)
        for first in range(0, len(index), step):
            yield tile, index[first : first + step], corners[first : first + step]
