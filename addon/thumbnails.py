"""Small pictures in the panel: the one that is growing, and those of the history, each a JPEG of the backend's."""

import hashlib
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np

from . import images
from .viewports import redraw_panels

GROWING = "the picture that is being made"
DRAFT = ".BeyondScene growing"  # the Image datablock of it; the dot hides it from lists, and without users it is never saved

icons: bpy.utils.previews.ImagePreviewCollection | None = None
wanted: dict[str, Path] = {}  # thumbnails of an earlier Blender that a panel has asked for
lacking: set[str] = set()  # pictures that have none, so that a redraw need not ask the disk


def keep(picture: Path, jpeg: bytes) -> None:
    """From now on `jpeg` is what the history shows of the file `picture`; b"" where there is none."""
    place = place_of(picture)
    lacking.discard(str(picture))
    if jpeg:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(jpeg)
        draw(str(picture), place)
    else:
        forget(str(picture))
        place.unlink(missing_ok=True)


def icon_of(picture: Path) -> int:
    """Number of the icon that shows `picture`; 0 where nothing is known of it, or not yet.

    While a panel is being drawn nothing can be loaded, so a thumbnail of an earlier Blender is there at the next redraw.
    """
    name = str(picture)
    if icons is None or name in icons:
        return icons[name].icon_id if icons else 0
    if name not in lacking and name not in wanted:
        place = place_of(picture)
        if place.exists():
            wanted[name] = place
        else:
            lacking.add(name)
    if wanted and not bpy.app.timers.is_registered(draw_wanted):  # also one that ended as another file was opened
        bpy.app.timers.register(draw_wanted, first_interval=0)
    return 0


def draw_wanted() -> float | None:
    """The timer's body: one thumbnail a turn."""
    if not wanted or icons is None:
        return None
    name, place = wanted.popitem()
    draw(name, place)
    redraw_panels()
    return 0.0 if wanted else None


def show_growing(jpeg: bytes) -> None:
    """Let the panel show the picture so far.

    Its datablock stays, since a new one each time would have Blender build all relations of the scene anew.
    """
    path = Path(bpy.app.tempdir) / "beyondscene growing.jpg"
    path.write_bytes(jpeg)
    image = bpy.data.images.get(DRAFT)
    if image is None:
        image = bpy.data.images.load(str(path))
        image.name = DRAFT
    else:
        image.reload()
    copy_pixels(GROWING, image)


def is_growing() -> bool:
    """Whether a picture so far is shown, whatever an undo has made of its datablocks."""
    return icons is not None and GROWING in icons


def growing_icon() -> int:
    return icons[GROWING].icon_id if icons is not None and is_growing() else 0


def leave_growing() -> None:
    """Show it no longer."""
    forget(GROWING)
    if image := bpy.data.images.get(DRAFT):
        bpy.data.images.remove(image)


def forget(name: str) -> None:
    if icons is not None:
        icons.pop(name, None)


def draw(name: str, path: Path) -> None:
    """Blender's own thumbnails are cached by the second and made later; this one is there when it returns."""
    image = bpy.data.images.load(str(path))
    try:
        copy_pixels(name, image)
    finally:
        bpy.data.images.remove(image)


def copy_pixels(name: str, image: bpy.types.Image) -> None:
    assert icons is not None
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
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
    wanted.clear()
    lacking.clear()
    if bpy.app.timers.is_registered(draw_wanted):
        bpy.app.timers.unregister(draw_wanted)
    if icons is not None:
        bpy.utils.previews.remove(icons)
    icons = None
