"""`--backdrop IMAGE`: a picture of the place without its people, to begin the background from."""

import argparse
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from PIL import Image, ImageOps

from ...protocol import GREY, SHORT_SIDE_PX, Backdrop, Refusal, arrays_of, describe_array, has_proportions
from ..blend import Shot
from .arguments import share

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV")


def add_backdrop(parser: argparse.ArgumentParser) -> None:
    words = "a picture of the place without its people, from which the background is drawn"
    parser.add_argument("--backdrop", type=Path, metavar="IMAGE", help=words)
    words = "how much of the backdrop is drawn anew, above 0 and up to 1; default: its own, or the models'"
    parser.add_argument("--backdrop-strength", type=share, metavar="SHARE", help=words)


def with_backdrop(args: argparse.Namespace, shot: Shot) -> Shot:
    """`shot` with the backdrop that is asked for. Raises Refusal."""
    request, arrays = shot.request, shot.arrays
    if args.backdrop is not None:
        image = scale_backdrop(args.backdrop, request.width, request.height)
        reference, strength = describe_array(image), request.backdrop and request.backdrop.strength
        request = replace(request, backdrop=Backdrop(image=reference, strength=strength))
        there = arrays | {reference.digest: image}  # with the backdrop that this one takes the place of
        arrays = {array.digest: there[array.digest] for _, array in arrays_of(request)}
    if args.backdrop_strength is not None:
        if request.backdrop is None:
            raise Refusal("--backdrop-strength is of a backdrop, and there is none: name one with --backdrop IMAGE.")
        request = replace(request, backdrop=replace(request.backdrop, strength=args.backdrop_strength))
    return shot._replace(request=request, arrays=arrays)


@cache  # large ones take a second to read, and each frame asks twice
def scale_backdrop(path: Path, width: int, height: int) -> np.ndarray:
    """uint8 (h, w, 3), no larger than base images are. Raises Refusal where it is no picture for one of width x height px."""
    image = read_backdrop(path)
    if not has_proportions(image.width, image.height, width, height):
        raise Refusal(
            f"{path} is {image.width}x{image.height} px, of other proportions than the picture's {width}x{height}: cut it to "
            "those, or choose another size for the picture."
        )
    scale = min(1, SHORT_SIDE_PX / min(image.size))
    return np.asarray(image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS))


def read_backdrop(path: Path) -> Image.Image:
    """In RGB; what is transparent is grey. Raises Refusal for what is no picture of 8 bits."""
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Refusal(
            f"{path} is too large to be read: save it smaller, {SHORT_SIDE_PX} px of its shorter side will do."
        ) from error
    except Exception as error:  # Pillow raises what it likes, struct.error and TypeError among it
        raise Refusal(f"{path} cannot be read as a picture ({error}): name a PNG or JPEG that can.") from error
    if image.mode not in EIGHT_BITS:
        raise Refusal(f"{path} has more than 8 bits per channel ({image.mode}): save it with 8.")
    image = image.convert("RGBA")
    grey = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
    return Image.alpha_composite(grey, image).convert("RGB")
