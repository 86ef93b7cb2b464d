"""Stage 1: set the people into the scene, where they stand and in the order of their depth."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ...protocol import FREE, GREY, Character, RenderRequest
from ..planning.people import Figure
from ..planning.plan import Size
from .segment import Cutout

Box = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Collage:
    """image: uint8 (H, W, 3), people on grey. cover: float32 (H, W), 1 where people are, feathered at their rims.

    Straight alpha: the colours of the rims are the people's alone, without any grey, as `cover` is yet to mix them in.
    backdrop: uint8 (H, W, 3), what the background is drawn from: the request's, or grey.
    figures: far to near; their masks are disjoint, and none is empty. remarks: a sentence for each of whom nothing is left.
    """

    image: np.ndarray
    cover: np.ndarray
    figures: list[Figure]
    backdrop: np.ndarray
    remarks: tuple[str, ...] = ()

    def show(self) -> np.ndarray:
        """uint8 (H, W, 3), to be looked at: the people with their soft rims on the backdrop."""
        return blend(self.backdrop, self.image, self.cover)


def compose(
    request: RenderRequest,
    arrays: dict[str, np.ndarray],
    cutouts: list[Cutout],
    size: Size,
    feather_px: float,
    on_person: Callable[[], None] = lambda: None,
) -> Collage:
    """Paste the cut-outs far to near; who is nearer covers who is farther.

    arrays: masks that came with the request, by digest; such a mask says where its person may show.
    feather_px: width of the soft rim, in pixels of the base image. on_person: called after each.
    """
    image = np.full((size.height, size.width, 3), GREY, np.float32)
    cover = np.zeros((size.height, size.width), np.float32)
    figures: list[Figure] = []
    covered_by: dict[str, str] = {}  # the nearest of those before a character: its name, by the other's id
    for cutout in cutouts:
        character = cutout.portrait.person.character
        matrix, shrink = base_from_canvas(request, cutout, size)
        box = box_around(matrix, len(cutout.mask), size, feather_px)
        picture, mask = warp_person(cutout, matrix, shrink, box)
        if character.mask is not None:
            mask *= where_free(arrays[character.mask.digest], size)[box]
        paste(image[box], cover[box], picture, mask, feather_px)
        solid = mask > 0.5
        covered_by |= dict.fromkeys(cover_up(figures, solid, box), character.name)
        parts = {name: warp(part.astype(np.float32), matrix, shrink, box) > 0.5 for name, part in cutout.parts.items()}
        parts = {name: in_canvas(part & solid, box, size) for name, part in parts.items()}
        figures.append(Figure(cutout.portrait.person, in_canvas(solid, box, size), parts))
        on_person()
    # who is wholly covered is not told of any more: their skeleton would call them forth beside whoever covers them
    gone = [figure.person.character for figure in figures if not figure.mask.any()]
    figures = [figure for figure in figures if figure.mask.any()]
    image.round(out=image).clip(0, 255, out=image)
    remarks = tuple(say_gone(one, covered_by.get(one.id)) for one in gone)
    return Collage(image.astype(np.uint8), cover, figures, find_backdrop(request, arrays, size), remarks)


def warp_person(cutout: Cutout, matrix: np.ndarray, shrink: float, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Their picture, float32 (h, w, 3), in straight alpha, and their mask, float32 (h, w), 0 to 1, as they lie in `box`."""
    mask = warp(cutout.mask.astype(np.float32), matrix, shrink, box)
    # warped without the portrait's backdrop, which would bleed into the rim
    person = warp(cutout.portrait.image * cutout.mask[..., None].astype(np.float32), matrix, shrink, box)
    return person / np.where(mask > 0, mask, 1)[..., None], mask


def paste(image: np.ndarray, cover: np.ndarray, picture: np.ndarray, mask: np.ndarray, feather_px: float) -> None:
    """Lay `picture` over what is in `image` and `cover`, which are changed: "over" of Porter and Duff, 1984."""
    rim_px = min(feather_px, inside_px(mask > 0.5).max() / 2)  # a wider one would make somebody thin transparent
    alpha = cv2.GaussianBlur(mask, (0, 0), rim_px) if rim_px > 0 else mask
    alpha = np.minimum(alpha, mask)  # soft inwards only: outside there is nobody
    both = alpha + cover * (1 - alpha)
    share = np.divide(alpha, both, out=np.zeros_like(both), where=both > 0)
    image += (picture - image) * share[..., None]
    cover[:] = both


def cover_up(farther: list[Figure], solid: np.ndarray, box: Box) -> list[str]:
    """Take what is `solid` in `box` from the masks of those who are farther; the ids of the characters who lose any."""
    losing = [figure.person.character.id for figure in farther if (figure.mask[box] & solid).any()]
    for figure in farther:
        for covered in (figure.mask, *figure.parts.values()):
            covered[box] &= ~solid
    return losing


def find_backdrop(request: RenderRequest, arrays: dict[str, np.ndarray], size: Size) -> np.ndarray:
    """uint8 (H, W, 3) of `size`: the request's, or grey."""
    if request.backdrop is None:
        return np.full((size.height, size.width, 3), GREY, np.uint8)
    image = arrays[request.backdrop.image.digest]
    shrinks = size.height < len(image)
    return cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def blend(background: np.ndarray, image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): `image` over `background`, both uint8, with the opacity `alpha`, float32 (H, W)."""
    blended = background + (image - background.astype(np.float32)) * alpha[..., None]
    return blended.round().clip(0, 255).astype(np.uint8)


def say_gone(character: Character, before: str | None) -> str:
    """Of whom nothing is left, and why. before: the name of who covers the rest; None where there was nothing to cover."""
    if before is None:
        return f"'{character.name}' is not in the picture, for too little is seen of this person: move the rig or the camera."
    words = f"for nearer people, such as '{before}', cover all of this person: move somebody, or the camera."
    return f"'{character.name}' is not in the picture, {words}"


def box_around(matrix: np.ndarray, side: int, size: Size, feather_px: float) -> Box:
    """Where a portrait of `side` lies in the base image, with room for its rim to be blurred; a pixel at least.

    matrix: of `base_from_canvas`.
    """
    room = np.ceil(4 * feather_px) + 2  # cv2 blurs over four deviations
    ends = np.array((size.width, size.height))
    left, top = np.clip(np.floor(matrix[:, 2]) - room, 0, ends - 1).astype(int)
    right, bottom = np.clip(np.ceil(matrix @ (side, side, 1)) + room, 1, ends).astype(int)
    return slice(top, bottom), slice(left, right)


def in_canvas(mask: np.ndarray, box: Box, size: Size) -> np.ndarray:
    """bool (H, W) of the base image: `mask` in `box`, nothing elsewhere."""
    canvas = np.zeros((size.height, size.width), bool)
    canvas[box] = mask
    return canvas


def inside_px(mask: np.ndarray) -> np.ndarray:
    """float32 (H, W): how far each pixel of a bool (H, W) mask is from what is outside; 0 there."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def where_free(mask: np.ndarray, size: Size) -> np.ndarray:
    """float64 (H, W) of the base image: the share of each pixel in which a character of this mask may show.

    Decided before it is resized: a mean of 255 and 0 would pass for FREE.
    """
    free = np.where(mask > FREE // 2, np.uint8(255), np.uint8(0))
    return cv2.resize(free, (size.width, size.height), interpolation=cv2.INTER_AREA) / 255


def base_from_canvas(request: RenderRequest, cutout: Cutout, size: Size) -> tuple[np.ndarray, float]:
    """The affine map (2, 3) from the portrait's pixels to those of the base image, and by how much it shrinks."""
    at = cutout.portrait.canvas_from_scene
    sx, sy = size.width / request.width / at.scale, size.height / request.height / at.scale
    return np.array([[sx, 0, -at.shift_x * sx], [0, sy, -at.shift_y * sy]]), 1 / max(sx, sy)


def warp(image: np.ndarray, matrix: np.ndarray, shrink: float, box: Box) -> np.ndarray:
    """float32 `image` under `matrix`, as far as it lies in `box`; blurred first as far as it shrinks, so that nothing aliases.

    0 where there is nothing of it.
    """
    if shrink > 1:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 * np.sqrt(shrink**2 - 1) + 1e-3)
    to_centres = matrix.copy()  # cv2 counts from pixel centres, we from their corners
    to_centres[:, 2] += matrix[:, :2].sum(1) * 0.5 - 0.5
    rows, columns = box
    # from the corner on, since cv2 rounds to parts of a pixel from where it starts
    warped = cv2.warpAffine(image, to_centres, (columns.stop, rows.stop), flags=cv2.INTER_LINEAR)
    return warped[box].copy()
