"""The picture of the place that an artist has chosen, from which the background is drawn."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np
from msgspec.structs import replace

from ...protocol import SHORT_SIDE_PX, ArrayRef, Backdrop, RenderRequest, describe_array, has_proportions
from ..images import path_of
from .errors import ExportError

GREY = 0.5  # under what is transparent
NO_STILLS = {"MOVIE": "a film", "TILED": "a tiled image", "VIEWER": "what a render or the compositor shows"}


def add_backdrop(
    scene: bpy.types.Scene, request: RenderRequest, frame: int | None = None
) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """`request` with the backdrop of `scene`, where it has one, and its array by digest. Raises ExportError.

    frame: of a sequence; None: that of `scene`.
    """
    own = scene.beyondscene
    if own.backdrop is None:
        return request, {}
    with still(own.backdrop, scene.frame_current if frame is None else frame) as image:
        pixels = read_pixels(image)
    height, width = pixels.shape[:2]
    if not has_proportions(width, height, request.width, request.height):
        raise ExportError(
            f"The backdrop '{own.backdrop.name}' is {width}x{height} px, of other proportions than the picture's "
            f"{request.width}x{request.height}: cut it to those, or give the picture an Own Size."
        )
    scale = min(1, SHORT_SIDE_PX / min(height, width))
    pixels = shrink(shrink(pixels, round(height * scale)).swapaxes(0, 1), round(width * scale)).swapaxes(0, 1)
    array = np.ascontiguousarray(pixels[::-1] * 255 + 0.5).clip(0, 255).astype(np.uint8)  # Blender's begin at the bottom
    backdrop = Backdrop(image=describe_array(array), strength=strength_of(own))
    return replace(request, backdrop=backdrop), {backdrop.image.digest: array}


def announce_backdrop(scene: bpy.types.Scene, width: int, height: int) -> Backdrop | None:
    """What stands for that of `scene` in a request of width x height px before anybody looks at its pixels."""
    own = scene.beyondscene
    image = ArrayRef(digest="0" * 64, dtype="uint8", shape=(height, width, 3))
    return Backdrop(image=image, strength=strength_of(own)) if own.backdrop else None


def strength_of(own: bpy.types.PropertyGroup) -> float | None:
    return float(f"{own.backdrop_strength:.6g}") or None


@contextmanager
def still(image: bpy.types.Image, frame: int) -> Iterator[bpy.types.Image]:
    """`image`, or of a sequence its file for `frame`. Raises ExportError for what is no such thing."""
    if image.source in NO_STILLS:
        raise ExportError(
            f"The backdrop '{image.name}' is {NO_STILLS[image.source]}: save a picture of it, or one per frame, and choose it."
        )
    if image.source != "SEQUENCE":
        yield image
        return
    path = number_file(path_of(image), frame)
    if not path.is_file():
        raise ExportError(f"The backdrop '{image.name}' has no file for frame {frame}, {path}: render it, or choose another.")
    single = bpy.data.images.load(str(path))
    try:
        single.colorspace_settings.name, single.alpha_mode = image.colorspace_settings.name, image.alpha_mode
        yield single
    finally:
        bpy.data.images.remove(single)


def number_file(path: Path, frame: int) -> Path:
    """That of `frame`, beside that of another one."""
    digits = re.search(r"(\d*)(\D*)$", path.stem)
    assert digits  # matches anything
    width = len(digits[1]) + (frame < 0)  # Blender does not count the sign
    stem = path.stem[: digits.start()] + f"{frame:0{width}d}" + digits[2] if digits[1] else path.stem
    return path.parent / (stem + path.suffix)  # a path may be empty, as of a sequence whose files are not chosen yet


def read_pixels(image: bpy.types.Image) -> np.ndarray:
    """float32 (h, w, 3), sRGB, bottom row first, over grey where it is transparent. Raises ExportError where there are none."""
    width, height = image.size
    if not width or not height or not len(image.pixels):
        raise ExportError(
            f"The backdrop '{image.name}' has no pixels that Blender hands out: if its file is gone, put it back; if it has "
            "layers, save one of them as a picture of its own and choose that."
        )
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(height, width, image.channels)
    colours, alpha = values[..., :3], values[..., 3:4]
    if colours.shape[2] < 3:  # grey alone
        colours, alpha = values[..., :1].repeat(3, 2), values[..., 1:2]
    if image.is_float:  # linear and, where it is transparent, dark, as no other is; may be beyond white, and no number
        np.nan_to_num(values, copy=False, posinf=1, neginf=0)
        colours = (colours / np.where(alpha > 0, alpha, 1) if alpha.shape[2] else colours).clip(0, 1)
        colours = np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * colours ** (1 / 2.4) - 0.055)
    return GREY + (colours - GREY) * alpha if alpha.shape[2] else colours


def shrink(values: np.ndarray, length: int) -> np.ndarray:
    """`values` with `length` rows, each the mean of those that it covers; as it is where it has no more."""
    rows = len(values)
    if length >= rows:
        return values
    edges = np.linspace(0, rows, length + 1)[:-1]
    whole = edges.astype(int)
    parts = (edges - whole).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1)) * values[whole]  # of the one before
    sums = np.add.reduceat(values, whole) - parts
    sums[:-1] += parts[1:]
    return sums * np.float32(length / rows)
