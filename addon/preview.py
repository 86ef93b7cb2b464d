"""A picture while it grows, in the panel and in the Image Editors that are free, and what the gallery keeps of it."""

from contextlib import suppress
from pathlib import Path

from . import editors, images, thumbnails


def show(jpeg: bytes, blend: str) -> None:
    """blend: path of the file that the picture is for; empty where that was never saved."""
    with suppress(OSError, RuntimeError):  # no room on the disk, or half a file there
        if images.is_open(blend):
            editors.show_preview(jpeg)
        thumbnails.show_growing(jpeg)


def keep(picture: Path, jpeg: bytes) -> None:
    """`picture` is finished, and this was the last of it."""
    if picture == images.first_file(picture):  # of the other frames none is ever shown
        with suppress(OSError):  # no room on the disk: the picture is what counts
            thumbnails.keep(picture, jpeg)


def leave() -> None:
    """Show it no longer."""
    editors.remove_preview()
    thumbnails.leave_growing()
