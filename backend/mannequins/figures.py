"""Draw a dressed mannequin: body, garments, hair, hat and what it carries."""

import numpy as np

from .heads import draw_head
from .looks import GARMENT_COLOURS, SKIN_COLOURS, Colour, Look
from .mannequin import Array, Body
from .raster import ARMS, FEET, HEAD, LEGS, LOWER_BODY, THINGS, UPPER_BODY, Canvas, Point

_SHOES: Colour = (44, 36, 34)


class Brush:
    """Draws capsules of one person between points of its body, with radii in metres."""

    def __init__(self, canvas: Canvas, body: Body, person: int) -> None:
        self.canvas, self.body, self.person = canvas, body, person

    def at(self, place: str | Array) -> Point:
        """Return where a named point of the body, or a world point (3,), lands."""
        return self.canvas.camera.project(self.body.points[place] if isinstance(place, str) else place)

    def limb(
        self,
        start: str | Array,
        end: str | Array,
        radii_m: tuple[float, float],
        colour: Colour,
        region: int,
        flatness: float = 1.0,
    ) -> None:
        """Draw a capsule; `radii_m` are those of a person of usual build."""
        a, b = self.at(start), self.at(end)
        scale = self.body.build * self.canvas.camera.focal_px
        radii = (radii_m[0] * scale / a[2], radii_m[1] * scale / b[2])
        self.canvas.capsule(a, b, radii, colour, region, self.person, flatness)


def draw_person(canvas: Canvas, body: Body, look: Look, person: int) -> None:
    """Draw a whole person; `person` counts from 1."""
    brush = Brush(canvas, body, person)
    skin, shirt = SKIN_COLOURS[look.skin], GARMENT_COLOURS[look.shirt]
    _draw_legs(brush, look, skin)
    for side in ("right", "left"):
        brush.limb(f"{side}_wrist", f"{side}_hand", (0.036, 0.044), skin, ARMS)
        brush.limb(f"{side}_wrist", f"{side}_thumb", (0.022, 0.016), skin, ARMS)
        brush.limb(f"{side}_shoulder", f"{side}_elbow", (0.064, 0.05), shirt, UPPER_BODY)
        if look.short_sleeves:
            brush.limb(f"{side}_elbow", f"{side}_wrist", (0.043, 0.034), skin, ARMS)
        else:
            brush.limb(f"{side}_elbow", f"{side}_wrist", (0.05, 0.04), shirt, UPPER_BODY)
    _draw_trunk(brush, shirt)
    brush.limb("neck", "head", (0.052, 0.05), skin, HEAD)
    draw_head(canvas, body, look, person)
    _draw_prop(brush, look)


def _draw_legs(brush: Brush, look: Look, skin: Colour) -> None:
    colour = GARMENT_COLOURS[look.trousers]
    points = brush.body.points
    for side in ("right", "left"):
        hip, knee, ankle = f"{side}_hip", f"{side}_knee", f"{side}_ankle"
        brush.limb(ankle, f"{side}_toe", (0.048, 0.038), _SHOES, FEET)
        if look.garment == "trousers":
            brush.limb(hip, knee, (0.088, 0.066), colour, LOWER_BODY)
            brush.limb(knee, ankle, (0.066, 0.05), colour, LOWER_BODY)
        else:
            brush.limb(hip, knee, (0.08, 0.056), skin, LEGS)
            brush.limb(knee, ankle, (0.056, 0.042), skin, LEGS)
            length, hem = (0.72, 0.08) if look.garment == "shorts" else (0.95, 0.1)
            brush.limb(hip, points[hip] + length * (points[knee] - points[hip]), (0.094, hem), colour, LOWER_BODY)
    brush.limb("right_hip", "left_hip", (0.096, 0.096), colour, LOWER_BODY)
    if look.garment in ("skirt", "dress"):
        # cloth spans from thigh to thigh; three more capsules between them close the gap
        for share in (0.25, 0.5, 0.75):
            top, low = (points[f"right_{end}"] * (1 - share) + points[f"left_{end}"] * share for end in ("hip", "knee"))
            brush.limb(top, top + 0.95 * (low - top), (0.1, 0.11), colour, LOWER_BODY)


def _draw_trunk(brush: Brush, shirt: Colour) -> None:
    body, camera = brush.body, brush.canvas.camera
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
    brush.canvas.capsule(start, end, radii, shirt, UPPER_BODY, brush.person, flatness=min(thickness, 1.0))


def _draw_prop(brush: Brush, look: Look) -> None:
    if look.prop == "none":
        return
    body, colour = brush.body, GARMENT_COLOURS[look.prop_colour]
    hand, wrist = body.points["right_hand"], body.points["right_wrist"]
    down = np.array([0.0, -1.0, 0.0])
    if look.prop == "ball":
        reach = (hand - wrist) / max(float(np.linalg.norm(hand - wrist)), 1e-6)
        centre = hand + 0.1 * reach
        brush.limb(centre, centre, (0.12, 0.12), colour, THINGS)
    elif look.prop == "bag":
        brush.limb(hand, hand + 0.12 * down, (0.014, 0.014), colour, THINGS)
        brush.limb(hand + 0.2 * down, hand + 0.3 * down, (0.1, 0.12), colour, THINGS, flatness=0.6)
    else:
        back = body.points["neck"] - 0.12 * body.up - 0.15 * body.forward
        brush.limb(back, back - 0.22 * body.up, (0.13, 0.15), colour, THINGS, flatness=0.8)
        for side in (-1, 1):  # straps over the chest
            shoulder = body.points["neck"] + side * 0.1 * body.lateral - 0.02 * body.up + 0.1 * body.forward
            brush.limb(shoulder, shoulder - 0.26 * body.up + 0.02 * side * body.lateral, (0.02, 0.02), colour, THINGS)
