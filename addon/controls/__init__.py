"""What a render would send, for the artist to look at: as a picture, and over the camera view. Changes nothing in the scene."""

from . import overlay, panel


def register() -> None:
    panel.register()
    overlay.register()


def unregister() -> None:
    overlay.unregister()
    panel.unregister()
