"""Why a picture cannot be put somewhere."""

import bpy


class DestinationError(ValueError):
    """The message names what is missing and the next step."""


def check_kept(thing: bpy.types.ID) -> None:
    """Raise DestinationError where `thing` is linked: Blender keeps nothing that is added to it here."""
    if not thing.is_editable:
        raise DestinationError(
            f"'{thing.name}' is linked from another file, so what is added to it here is not kept: put the picture there, or "
            "into a scene of this file."
        )
