"""Random groups of posed people that can all be discerned, whatever the size they are drawn at."""

from dataclasses import dataclass

import cv2
import numpy as np
from msgspec.structs import replace

from ..mannequins.looks import Look, draw_look
from ..mannequins.mannequin import Body, pose_body
from ..mannequins.raster import Camera
from ..mannequins.scenes import Rendering, compose_view, project_keypoints
from ..pose import LIMBS
from .keypoints import body_size

SMALLEST = 0.22  # of the short side: a person of fewer pixels in the base image is a smudge
SEEN = 0.55  # of everyone's bones that nobody nearer covers
_ATTEMPTS = 80
_SKETCH_PX = 160  # short side of the sketch in which that is looked up
_FLESH = 0.10  # width of a limb, of the body's size


@dataclass(frozen=True)
class Crowd:
    """camera: for a short side of 1 px, so that the same people can be drawn at any size."""

    camera: Camera
    aspect: int  # width over height
    bodies: list[Body]
    looks: list[Look]
    background: str

    def camera_at(self, width_px: int, height_px: int) -> Camera:
        """The camera of the same picture in pixels."""
        scale, at = height_px, self.camera
        return replace(
            at,
            width_px=width_px,
            height_px=height_px,
            focal_px=at.focal_px * scale,
            centre_x_px=at.centre_x_px * scale,
            horizon_y_px=at.horizon_y_px * scale,
        )

    def keypoints(self, width_px: int, height_px: int) -> np.ndarray:
        """float32 (people, 18, 4): x_px, y_px, drawn, depth_m, in the order of `bodies`."""
        camera = self.camera_at(width_px, height_px)
        points = [project_keypoints(camera, body) for body in self.bodies]
        return np.stack(points) if points else np.zeros((0, 18, 4), np.float32)

    def draw(self, width_px: int, height_px: int, random: np.random.Generator) -> Rendering:
        """The true picture; instance i + 1 is `bodies[i]`."""
        return compose_view(self.camera_at(width_px, height_px), self.bodies, self.looks, self.background, random)


def draw_crowd(
    random: np.random.Generator, count: int, aspect: int, backgrounds: tuple[str, ...], smallest: float = 0.26
) -> Crowd:
    """People on one ground at different depths, side by side so closely that neighbours often overlap.

    smallest: the least height of a standing person, of the short side; the greatest falls with their number.
    """
    largest = max(smallest + 0.1, 0.72 - 0.3 * count / (8 * aspect) - (0.1 if count > 1 else 0))
    shares = random.uniform(smallest, largest, count)
    focal, height = float(random.uniform(1.1, 1.5)), float(random.uniform(1.3, 1.7))
    reach = height / 1.75 * float(shares.max(initial=smallest))  # of the nearest feet below the horizon
    horizon = min(float(random.uniform(0.28, 0.45)), 0.95 - reach)
    camera = Camera(width_px=aspect, height_px=1, focal_px=focal, centre_x_px=aspect / 2, horizon_y_px=horizon, height_m=height)
    # in heights of the picture: from one person to the next, so that the row fits, and where the first stands
    gap = min(float(random.uniform(0.3, 0.6) * shares.mean()) if count else 0.0, 0.84 * aspect / max(count, 1))
    span = gap * (count - 1)
    start = float(random.uniform(0.1 * aspect, 0.9 * aspect - span)) if 0.8 * aspect > span else (aspect - span) / 2
    bodies, looks = [], []
    for number, share in enumerate(shares):
        tall = float(random.uniform(1.6, 1.88))
        z = focal * tall / float(share)
        across = start + number * gap + float(random.normal(0, 0.015))
        bodies.append(pose_body(random, (across - aspect / 2) * z / focal, z, tall))
        looks.append(draw_look(random))
    return Crowd(camera, aspect, bodies, looks, backgrounds[int(random.integers(len(backgrounds)))])


def draw_discernible(seed: tuple[int, ...], count: int, aspect: int, backgrounds: tuple[str, ...]) -> Crowd:
    """The first crowd of this seed in which everybody is seen well, or the best of many."""
    best, most = None, -1.0
    for attempt in range(_ATTEMPTS):
        crowd = draw_crowd(np.random.default_rng([*seed, attempt]), count, aspect, backgrounds)
        seen = discernibility(crowd)
        if seen >= SEEN:
            return crowd
        if seen > most:
            best, most = crowd, seen
    assert best is not None
    return best


def discernibility(crowd: Crowd) -> float:
    """How much is seen of whoever is seen least, 0 to 1; 0 if somebody is too small or leaves the frame."""
    width, height = _SKETCH_PX * crowd.aspect, _SKETCH_PX
    people = crowd.keypoints(width, height)
    front = np.zeros((height, width), np.uint8)
    alone = []
    for number in np.argsort(-people[:, 1, 3]):  # far to near, by the necks
        points = people[number]
        inside = (points[:, :2] > 1).all() and (points[:, 0] < width - 1).all() and (points[:, 1] < height - 1).all()
        if not inside or body_size(points[:, :2]) < SMALLEST * height:
            return 0.0
        bones = sketch_bones(points, width, height)
        front[bones] = number + 1
        alone.append((number + 1, int(np.count_nonzero(bones))))
    return min((np.count_nonzero(front == number) / max(total, 1) for number, total in alone), default=1.0)


def sketch_bones(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """bool (height, width): the limbs of one person (18, 4), about as thick as flesh makes them."""
    mask = np.zeros((height, width), np.uint8)
    thickness = max(1, round(_FLESH * body_size(points[:, :2])))
    corners = points[:, :2].round().astype(int).tolist()
    for start, end in LIMBS:
        cv2.line(mask, corners[start], corners[end], (1,), thickness)
    return mask > 0
