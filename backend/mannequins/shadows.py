"""Shadows on the ground: a soft one under each foot, and the body's own, cast away from the light."""

import cv2
import numpy as np

from .mannequin import Body
from .raster import Canvas

_CONTACTS = (("hips", 0.42, 0.26), ("right_ankle", 0.17, 0.30), ("left_ankle", 0.17, 0.30))  # place, radius in m, strength
_BONES = (
    ("head", "neck", 0.13), ("neck", "hips", 0.19), ("right_hip", "right_knee", 0.09), ("right_knee", "right_ankle", 0.06),
    ("left_hip", "left_knee", 0.09), ("left_knee", "left_ankle", 0.06), ("right_shoulder", "right_elbow", 0.06),
    ("right_elbow", "right_hand", 0.05), ("left_shoulder", "left_elbow", 0.06), ("left_elbow", "left_hand", 0.05),
)  # fmt: skip
_STRENGTH = 0.34
_NEAREST_M = 0.6  # shadows nearer to the camera are left out: they would fill the picture


def shade_contacts(canvas: Canvas, body: Body) -> None:
    """Darken the ground softly around the person's feet and below the trunk."""
    camera = canvas.camera
    for name, radius, strength in _CONTACTS:
        x, y, depth = camera.project(body.points[name] * np.array([1.0, 0, 1]))
        radius_x = radius * camera.focal_px / depth
        radius_y = max(radius_x * camera.height_m / depth, 1.0)
        window = canvas.window(x - 2 * radius_x, y - 2 * radius_y, x + 2 * radius_x, y + 2 * radius_y)
        if window is not None:
            rows, columns, ys, xs = window
            dark = strength * np.exp(-(((xs - x) / radius_x) ** 2) - ((ys - y) / radius_y) ** 2)
            canvas.colour[rows, columns] *= (1 - dark)[..., None]


def cast_shadows(canvas: Canvas, bodies: list[Body]) -> None:
    """Darken the ground where bodies keep the light from it. Shadows that overlap are no darker than one."""
    camera, (right, up, towards) = canvas.camera, (float(v) for v in canvas.light)
    mask = np.zeros(canvas.depth.shape, np.uint8)
    softness_px = 0.0
    for body in bodies:
        # a point in the air darkens the ground that the light would have reached behind it; Z of the world points away
        fallen = {}
        for name in {name for bone in _BONES for name in bone[:2]}:
            x, y, z = body.points[name]
            fallen[name] = np.array([x - right / up * y, 0.0, z + towards / up * y])
        for start, end, radius in _BONES:
            if min(fallen[start][2], fallen[end][2]) < _NEAREST_M:
                continue
            a, b = camera.project(fallen[start]), camera.project(fallen[end])
            # a line on the ground is seen from the side: it is drawn about as thick as it is high on screen
            flat = camera.height_m / np.hypot(camera.height_m, (a[2] + b[2]) / 2)
            thickness = max(1, round(2 * radius * body.build * camera.focal_px * 2 / (a[2] + b[2]) * max(flat, 0.35)))
            ends = [(int(np.clip(p[0], -4e3, 4e3)), int(np.clip(p[1], -4e3, 4e3))) for p in (a, b)]
            cv2.line(mask, ends[0], ends[1], (255,), min(thickness, 255), cv2.LINE_AA)
            softness_px = max(softness_px, 0.03 * camera.focal_px * 2 / (a[2] + b[2]))
    if softness_px > 0:
        top = int(np.clip(np.ceil(camera.horizon_y_px), 0, len(mask)))
        mask[:top] = 0
        soft = cv2.GaussianBlur(mask, (0, 0), min(max(softness_px, 0.6), 12.0))
        canvas.colour *= 1 - (soft.astype(np.float32) * np.float32(_STRENGTH / 255))[..., None]
