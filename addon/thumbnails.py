"""Small pictures in the panel: the one that is growing, and those of the history, each a JPEG of the backend's."""

import hashlib
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np

from . import images

GROWING = "the picture that is being made"

icons: bpy.utils.previews.ImagePreviewCollection | None = None


def keep(picture: Path, jpeg: bytes) -> None:
    """From now on `jpeg` is what the history shows of the file `picture`; b"" where there is none."""
    place = place_of(picture)
    forget(str(picture))
    if jpeg:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(jpeg)
    else:
        place.unlink(missing_ok=True)


def icon_of(picture: Path) -> int:
    """Number of the icon that shows `picture`; 0 where nothing is known of it."""
    if icons is None:
        return 0
    name = str(picture)
    if name not in icons:
        place = place_of(picture)
        if not place.exists():
            return 0
        draw(name, place)
    return icons[name].icon_id


def show_growing(jpeg: bytes) -> None:
    """Let the panel show the picture so far."""
    path = Path(bpy.app.tempdir) / "beyondscene growing.jpg"
    path.write_bytes(jpeg)
    draw(GROWING, path)


def growing_icon() -> int:
    return icons[GROWING].icon_id if icons is not None and GROWING in icons else 0


def forget(name: str = GROWING) -> None:
    if icons is not None:
        icons.pop(name, None)


def draw(name: str, path: Path) -> None:
    """Blender's own thumbnails are cached by the second and made later; this one is there when it returns."""
    assert icons is not None
    image = bpy.data.images.load(str(path))
    try:
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    icon = icons[name] if name in icons else icons.new(name)
    icon.image_size = (width, height)
    icon.image_pixels_float.foreach_set(pixels)


def place_of(picture: Path) -> Path:
    return images.own_folder() / "thumbnails" / f"{hashlib.blake2b(str(picture).encode(), digest_size=16).hexdigest()}.jpg"


def register() -> None:
    global icons
    icons = bpy.utils.previews.new()


def unregister() -> None:
    global icons
    if icons is not None:
        bpy.utils.previews.remove(icons)
    icons = None
