"""Compose random views of the procedural world: picture, masks, keypoints and caption."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ...protocol import KEYPOINT_NAMES
from .backgrounds import paint_background
from .figures import draw_person
from .looks import SCENES, Look, draw_look, write_caption
from .mannequin import Body, pose_body
from .raster import LIGHTS, Camera, Canvas
from .shadows import cast_shadows, shade_contacts

Framing = Literal["portrait", "figure", "zoom", "several", "crowd", "empty"]
# How views are framed. A picture is generated as single portraits first, then enlarged: its views show small
# figures, then larger and larger parts of bodies.
FRAMINGS: dict[Framing, float] = {
    "portrait": 0.20, "figure": 0.14, "zoom": 0.34, "several": 0.20, "crowd": 0.05, "empty": 0.07,
}  # fmt: skip

_FACE = {"nose": 0.15, "right_eye": 0.05, "left_eye": 0.05, "right_ear": -0.45, "left_ear": -0.45}
_HIPS = [KEYPOINT_NAMES.index("RHip"), KEYPOINT_NAMES.index("LHip")]
# what a body's points call the joints: "RHip" is "right_hip"
_POINTS = [{"R": "right_", "L": "left_"}.get(name[0], name[0]).lower() + name[1:].lower() for name in KEYPOINT_NAMES]
MOST_PEOPLE = 8
_VISIBLE_PX = 0.0012  # of the view: fewer pixels do not make a person worth a caption


class Rendering(msgspec.Struct, frozen=True):
    """One training sample."""

    picture: npt.NDArray[np.uint8]  # (H, W, 3), RGB
    instance: npt.NDArray[np.uint8]  # (H, W), 0 = nobody, else 1 + index into looks
    region: npt.NDArray[np.uint8]  # (H, W), index into raster.REGIONS
    depth: npt.NDArray[np.float32]  # (H, W), metres along the view axis, of people and the ground; inf above the horizon
    normal: npt.NDArray[np.float32]  # (H, W, 3), unit; X right, Y up, Z towards the camera
    keypoints: npt.NDArray[np.float32]  # (people, 18, 4): x_px, y_px, drawn, depth_m; in the order of looks
    caption: str  # people from left to right
    looks: tuple[Look, ...]
    scene: str
    light: str  # key of raster.LIGHTS: where it comes from

    @property
    def far_to_near(self) -> npt.NDArray[np.float32]:
        """The keypoints in the order in which skeletons are drawn."""
        return self.keypoints[np.argsort(-self.keypoints[:, _HIPS, 3].mean(1), kind="stable")]


def draw_view(random: np.random.Generator, size_px: int = 256, framing: Framing | None = None) -> Rendering:
    """Return a random square view, framed as asked or by FRAMINGS."""
    if framing is None:
        kinds = list(FRAMINGS)
        framing = kinds[int(random.choice(len(kinds), p=np.array(list(FRAMINGS.values()))))]
    scene = SCENES[int(random.integers(len(SCENES)))]
    if framing == "portrait" and random.random() < 0.4:
        scene = "plain"
    camera, places = _frame(framing, random, size_px)
    bodies = [pose_body(random, x, z, height) for x, z, height in places]
    if framing in ("portrait", "zoom"):
        camera = _aim(camera, bodies[0], framing, random)
    return compose_view(camera, bodies, [draw_look(random) for _ in bodies], scene, random)


def compose_view(camera: Camera, bodies: list[Body], looks: list[Look], scene: str, random: np.random.Generator) -> Rendering:
    """Return what `camera` sees of people and a background, in a light from a random side.

    bodies: in any order; person i + 1 of the masks is bodies[i], who looks like looks[i]. scene: one of SCENES.
    """
    light = str(random.choice(list(LIGHTS)))
    canvas = Canvas(paint_background(scene, camera, random), camera, light)
    far_to_near = sorted(range(len(bodies)), key=lambda i: -bodies[i].points["hips"][2])
    if scene != "night":
        cast_shadows(canvas, bodies)
    for i in far_to_near:
        shade_contacts(canvas, bodies[i])
    for i in far_to_near:
        draw_person(canvas, bodies[i], looks[i], i + 1)

    height, width = canvas.instance.shape
    pixels = np.bincount(canvas.instance.ravel(), minlength=len(bodies) + 1)[1:]
    seen = [i for i in range(len(bodies)) if pixels[i] > _VISIBLE_PX * height * width]
    left_to_right = sorted(seen, key=lambda i: camera.project(bodies[i].points["neck"])[0])
    points = {i: project_keypoints(camera, bodies[i], random) for i in far_to_near}
    nobody = canvas.instance == 0
    ground = camera.ground_depth()
    canvas.normal[nobody] = np.where(np.isfinite(ground[nobody])[:, None], (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return Rendering(
        picture=np.clip(canvas.colour + 0.5, 0, 255).astype(np.uint8),
        instance=canvas.instance,
        region=canvas.region,
        depth=np.where(nobody, ground, canvas.depth),
        normal=canvas.normal,
        keypoints=np.stack([points[i] for i in range(len(bodies))]) if bodies else np.zeros((0, 18, 4), np.float32),
        caption=write_caption(scene, [looks[i] for i in left_to_right], random),
        looks=tuple(looks),
        scene=scene,
        light=light,
    )


def project_keypoints(camera: Camera, body: Body, random: np.random.Generator | None = None) -> npt.NDArray[np.float32]:
    """Return the COCO-18 keypoints (18, 4) of a body: x_px, y_px, drawn, depth_m.

    Parts of a face that looks away are not drawn (with `random`: sometimes are, as exporters differ in this).
    """
    keep_hidden = random is not None and random.random() < 0.15
    keypoints = np.zeros((18, 4), np.float32)
    to_camera = -body.points["head"] / np.linalg.norm(body.points["head"])
    for i, name in enumerate(_POINTS):
        x, y, depth = camera.project(body.points[name])
        drawn = True
        if name in _FACE and not keep_hidden:
            outwards = body.head_forward
            if name.endswith("ear"):
                outwards = body.head_lateral * (-1 if name.startswith("right") else 1)
            drawn = float(outwards @ to_camera) > _FACE[name]
        keypoints[i] = x, y, drawn, depth
    return keypoints


def people_from_left(instance: npt.NDArray[np.uint8]) -> list[int]:
    """Return the indices of the people seen in an instance mask (H, W), ordered by the middle of what is seen."""
    rows, columns = np.nonzero(instance)
    people = instance[rows, columns]
    seen = {int(person): float(columns[people == person].mean()) for person in np.unique(people)}
    return [person - 1 for person in sorted(seen, key=seen.__getitem__)]


def _frame(framing: Framing, random: np.random.Generator, size_px: int) -> tuple[Camera, list[tuple[float, float, float]]]:
    """Return a camera and the ground position (x, z) and height of each person, in metres."""
    low, high = {
        "portrait": (0.72, 0.86),
        "figure": (0.30, 0.78),
        "zoom": (0.85, 3.5),
        "several": (0.30, 1.6),
        "crowd": (0.28, 0.6),
        "empty": (0.3, 3.5),
    }[framing]
    share = float(np.exp(random.uniform(np.log(low), np.log(high))))
    if framing == "several":
        share = float(np.exp(random.triangular(np.log(low), np.log(0.5), np.log(high))))
    depth, camera_height = random.uniform(3.2, 7.0), random.uniform(0.9, 1.8)
    focal_px = share * size_px * depth / 1.75
    several, crowd = int(random.choice((2, 3), p=(0.65, 0.35))), int(random.integers(4, MOST_PEOPLE + 1))
    count = {"empty": 0, "several": several, "crowd": crowd}.get(framing, 1)

    figure_px = share * size_px
    slack = max(size_px - figure_px, 0.0)
    feet_y = size_px - slack * random.uniform(0.05, 0.75) + max(figure_px - size_px, 0) * random.uniform(0, 1)
    if framing == "empty" or random.random() < 0.08:
        feet_y = random.uniform(0.2, 1.0 + share) * size_px
    camera = Camera(
        width_px=size_px, height_px=size_px, focal_px=focal_px, centre_x_px=size_px / 2,
        horizon_y_px=feet_y - focal_px * camera_height / depth, height_m=camera_height,
    )  # fmt: skip

    places: list[tuple[float, float, float]] = []
    gap = random.uniform(0.55, 0.95)
    middle = random.uniform(0.25, 0.75) if framing != "portrait" else 0.5
    start = (middle - 0.5) * size_px * depth / focal_px - gap * (count - 1) / 2
    if framing == "crowd":  # two rows, and all of them in the picture
        gap = min(gap, 1.75 / share / count)
        start = -gap * (count - 1) / 2
    for i in range(count):
        z = depth * (1.0 if count == 1 else random.uniform(0.88, 1.25))
        if framing == "crowd":
            z = depth * (random.uniform(0.92, 1.0) if i % 2 else random.uniform(1.15, 1.35))
        x = (start + i * gap + (random.normal(0, 0.08) if count > 1 else 0.0)) * z / depth
        places.append((x, z, random.uniform(1.58, 1.88)))
    return camera, places


def _aim(camera: Camera, body: Body, framing: Framing, random: np.random.Generator) -> Camera:
    """Shift the camera: a portrait is centred on the person's box, a zoom brings some body part into view."""
    points = np.array([camera.project(point)[:2] for point in body.points.values()])
    size = np.array([camera.width_px, camera.height_px])
    if framing == "portrait":
        low, high = points.min(axis=0), points.max(axis=0)
        # Hair and shoes reach beyond the joints; a wide pose is made to fit as well.
        shift = size * (0.5, 0.5) - (low + high) / 2 + random.normal(0, 0.015, 2) * size
        shrink = min(1.0, 0.92 * camera.width_px / max(float((high - low).max()), 1.0))
    else:
        target = points[int(random.integers(len(points)))]
        shift, shrink = size * random.uniform(0.15, 0.85, 2) - target, 1.0
    centre = size / 2
    moved = (np.array([camera.centre_x_px, camera.horizon_y_px]) + shift - centre) * shrink + centre
    return msgspec.structs.replace(
        camera, focal_px=camera.focal_px * shrink, centre_x_px=float(moved[0]), horizon_y_px=float(moved[1])
    )
