"""Draw a head that tells front, profile and back apart: face, ears, nose, hair and hat."""

import numpy as np

from .looks import GARMENT_COLOURS, HAIR_COLOURS, SKIN_COLOURS, Colour, Look
from .mannequin import Array, Body
from .raster import HAIR, HEAD, THINGS, Canvas, Plane


def draw_head(canvas: Canvas, body: Body, look: Look, person: int) -> None:
    """Draw everything above the neck; `person` counts from 1."""
    centre, radius = body.points["head"], body.head_radius
    up, ahead, across = body.up, body.head_forward, body.head_lateral
    skin, hair = SKIN_COLOURS[look.skin], HAIR_COLOURS[look.hair]

    def blob(start: Array, end: Array, radii: tuple[float, float], colour: Colour, region: int) -> None:
        a, b = canvas.camera.project(start), canvas.camera.project(end)
        scale = radius * canvas.camera.focal_px
        canvas.capsule(a, b, (radii[0] * scale / a[2], radii[1] * scale / b[2]), colour, region, person)

    back = centre + radius * (0.14 * up - 0.2 * ahead)
    blob(back, back, (0.99, 0.99), hair, HAIR)
    if look.hair_length == "long":
        blob(back, back - radius * (1.7 * up + 0.25 * ahead), (0.95, 0.6), hair, HAIR)
    elif look.hair_length == "curly":
        for side, high, behind in ((-0.8, 0.1, 0.3), (0.8, 0.1, 0.3), (-0.55, 0.75, 0.1), (0.55, 0.75, 0.1), (0, 0.95, 0.2)):
            curl = centre + radius * (side * across + high * up - behind * ahead)
            blob(curl, curl, (0.55, 0.55), hair, HAIR)
    for name in ("right_ear", "left_ear"):
        ear = body.points[name] - 0.06 * radius * ahead
        blob(ear, ear - 0.12 * radius * up, (0.2, 0.16), skin, HEAD)
    bridge = centre + radius * (0.88 * ahead + 0.06 * up)
    shaded = (int(0.9 * skin[0]), int(0.84 * skin[1]), int(0.82 * skin[2]))
    blob(bridge, centre + radius * (1.02 * ahead - 0.16 * up), (0.1, 0.14), shaded, HEAD)
    _draw_face(canvas, body, look, person)
    if look.hat != "none":
        colour = GARMENT_COLOURS[look.hat_colour]
        crown = centre + radius * (0.42 * up - 0.06 * ahead)
        blob(crown, crown + radius * 0.12 * up, (0.99, 0.9), colour, THINGS)
        rim = centre + radius * 0.42 * up
        if look.hat == "cap":
            blob(rim + radius * 0.7 * ahead, rim + radius * (1.5 * ahead - 0.08 * up), (0.36, 0.22), colour, THINGS)
        else:
            for angle in np.linspace(0, np.pi, 6, endpoint=False):
                reach = radius * 1.5 * (np.cos(angle) * ahead + np.sin(angle) * across)
                blob(rim - reach, rim + reach, (0.13, 0.13), colour, THINGS)


def _draw_face(canvas: Canvas, body: Body, look: Look, person: int) -> None:
    """The skull as a sphere with a hair line, eyes and a mouth painted on."""
    x, y, depth = canvas.camera.project(body.points["head"])
    radius = body.head_radius * canvas.camera.focal_px / depth
    window = canvas.window(x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1)
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
        brow = np.minimum(0.16 - np.abs(side - eye_side), 0.035 - np.abs(top - 0.38)) * visible_front
        colour = _mix(colour, HAIR_COLOURS[look.hair], inside(brow))
    mouth = np.minimum(0.26 - np.abs(side), 0.06 - np.abs(top + 0.42)) * visible_front
    colour = _mix(colour, (150, 60, 56), inside(mouth))
    hair = 0.1 - (0.9 * front - 0.85 * top)
    colour = _mix(colour, HAIR_COLOURS[look.hair], inside(hair))
    normal = np.stack([np.broadcast_to(dx, facing.shape), np.broadcast_to(dy, facing.shape), facing], -1)
    region = np.where(hair > 0, HAIR, HEAD).astype(np.uint8)
    coverage = np.clip((1 - distance) * radius + 0.5, 0, 1)
    canvas.blend(rows, columns, coverage, depth - facing * body.head_radius, colour, normal, region, person)


def _mix(colour: Plane, other: tuple[int, ...], amount: Plane) -> Plane:
    return colour + (np.array(other, np.float32) - colour) * amount
