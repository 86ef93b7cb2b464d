"""The 3D viewports, with the panels beside them and the controls over them."""

from collections.abc import Iterator

import bpy


def redraw() -> None:
    """Scene, controls and panels, in every window, as soon as Blender is free."""
    for area in areas("VIEW_3D"):
        area.tag_redraw()


def redraw_panels() -> None:
    """The panels alone, here and in the preferences: while a picture is made they change often, and a scene may be heavy."""
    for area in areas("VIEW_3D"):
        for region in area.regions:
            if region.type == "UI":
                region.tag_redraw()
    for area in areas("PREFERENCES"):
        area.tag_redraw()


def areas(kind: str) -> Iterator[bpy.types.Area]:
    windows = bpy.context.window_manager.windows if bpy.context.window_manager else ()
    return (area for window in windows for area in window.screen.areas if area.type == kind)
