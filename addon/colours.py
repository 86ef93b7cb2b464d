"""The colour in which a person is marked: in the list, in the preview of the controls and in the overlay."""

import colorsys
import math
import zlib
from typing import Any

Colour = tuple[float, float, float]  # red, green, blue; 0 to 1, as they are on the screen


def automatic_colour(name: str) -> Colour:
    """Of a name, the same whoever else is there."""
    return colorsys.hsv_to_rgb(zlib.crc32(name.encode()) * 0.618034 % 1, 0.75, 1.0)


def get_colour(own: Any) -> Colour:
    """What the artist chose, or else that of the object's name. own: the `beyondscene` of an object."""
    red, green, blue = own.chosen_colour
    return (red, green, blue) if red or green or blue else automatic_colour(own.id_data.name)


def set_colour(own: Any, colour: Colour) -> None:
    """The name's own colour is no choice, nor is that of the name in the library: Blender sets them for an override that has
    another name than there.
    """
    override = own.id_data.override_library
    names = {thing.name for thing in (own.id_data, override and override.reference) if thing}
    chosen = all(math.dist(colour, automatic_colour(name)) > 1e-6 for name in names)
    own.chosen_colour = colour if chosen else (0, 0, 0)
