"""Controls as a picture, drawn in numpy: it needs no GPU, so it works in background mode."""

from typing import Literal

import numpy as np

from .snapshot import Controls
from .strokes import Stroke, ellipse_axes, gather_strokes, line_width_px

Kind = Literal["ALL", "POSE", "MASKS", "DEPTH"]
LONG_SIDE_PX = 2048  # of the drawing; what is sent is as large as the picture that is asked for
BACKDROP = 0.3  # brightness of the depth behind everything else
TINT = 0.6  # of a mask over it
DIM = 0.35  # opacity of a limb that is not wholly seen
RIM_PX = 1.0  # how far outside its outline a shape fades out, as in the backend's drawing
HOLE = 0.6  # of the radius of a joint that is not seen


def draw_controls(controls: Controls, kind: Kind) -> np.ndarray:
    """float32 (height, width, 3), 0 to 1 as on the screen, row 0 at the top: `controls` at their size or LONG_SIDE_PX.

    POSE: the skeletons on black as the ControlNet sees them, far to near; hands, faces and feet for models that know them.
    MASKS: who is seen where, the nearer the brighter.
    DEPTH: of all surfaces, the nearer the brighter.
    ALL: these over each other with hands, faces and feet, and with rings for joints that are not seen.
    """
    request = controls.request
    scale = min(1.0, LONG_SIDE_PX / max(request.width, request.height))
    height, width = round(request.height * scale), round(request.width * scale)
    canvas = np.zeros((height, width, 3), np.float32)
    if kind in ("ALL", "DEPTH"):
        canvas += resample(draw_depth(controls), height, width)[..., None] * (BACKDROP if kind == "ALL" else 1)
    if kind in ("ALL", "MASKS"):
        tint_masks(canvas, controls, TINT if kind == "ALL" else 1)
    if kind in ("ALL", "POSE"):
        for _, character in controls.far_to_near():
            for stroke in gather_strokes(request, character, controls.style, details=kind == "ALL"):
                paint(canvas, stroke, line_width_px(request, controls.style), scale, as_sent=kind == "POSE")
    return canvas


def draw_depth(controls: Controls) -> np.ndarray:
    """float32 (h, w) at the size of the sight: 1 for the nearest surface, towards 0 for the farthest, 0 for none."""
    if controls.sight is None:
        return np.zeros((1, 1), np.float32)
    depth = controls.sight.depth
    surface = np.isfinite(depth)
    if not surface.any():
        return np.zeros_like(depth)
    nearness = np.divide(1, depth, out=np.zeros_like(depth), where=surface & (depth > 0))
    return nearness / max(float(nearness.max()), 1e-9)


def tint_masks(canvas: np.ndarray, controls: Controls, strength: float) -> None:
    """Lay the colour of each person over `canvas`, (height, width, 3), where they are seen."""
    if controls.sight is None:
        return
    owner = resample(controls.sight.owner, *canvas.shape[:2])
    people = controls.far_to_near()
    for rank, (index, _) in enumerate(people, 1):
        colour = np.array(controls.colours[index], np.float32) * (0.4 + 0.6 * rank / len(people))
        where = owner == index
        canvas[where] = canvas[where] * (1 - strength) + colour * strength


def resample(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) to (height, width), each the value at its centre: masks are looked up, never averaged."""
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(int)
    return values[rows[:, None], columns]


def paint(canvas: np.ndarray, stroke: Stroke, width_px: float, scale: float, as_sent: bool) -> None:
    """Draw `stroke` onto `canvas`, (height, width, 3), a `scale`-th of the request's picture, with smooth edges."""
    centre, along, across = (vector * scale for vector in ellipse_axes(stroke, width_px))
    reach = np.hypot(along, across) + 1
    first = np.maximum(np.floor(centre - reach), 0).astype(int)
    last = np.minimum(np.ceil(centre + reach), (canvas.shape[1], canvas.shape[0])).astype(int)
    if (first >= last).any():
        return
    x, y = np.arange(first[0], last[0]) + 0.5 - centre[0], np.arange(first[1], last[1])[:, None] + 0.5 - centre[1]
    long, short = float(np.hypot(*along)), float(np.hypot(*across))
    u, v = (x * along[0] + y * along[1]) / long, (x * across[0] + y * across[1]) / short  # px along the axes
    level = np.hypot(u / long, v / short)
    # how far inside the outline, in px, to first order: the level over its slope
    slope = np.maximum(np.hypot(u / long**2, v / short**2), 1e-9)
    inside = (1 - level) * level / slope
    cover = np.clip(inside + RIM_PX, 0, 1)
    cover[level < 1e-6] = 1
    if not as_sent and not stroke.seen:
        cover = cover - np.clip(inside - (1 - HOLE) * short + RIM_PX, 0, 1) if stroke.is_joint else cover * DIM
    part = canvas[first[1] : last[1], first[0] : last[0]]
    part += (np.array(stroke.colour, np.float32) - part) * cover[..., None].astype(np.float32)
