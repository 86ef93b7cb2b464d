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


def open_area() -> bpy.types.Area:
    """One in a window of its own, a copy of the area of the context, whose type may then be set.

    Blender's New Window refuses where an area fills the whole screen.
    """
    windows = bpy.context.window_manager.windows
    window, before = bpy.context.window or windows[0], {*windows}
    with bpy.context.temp_override(window=window, area=bpy.context.area or window.screen.areas[0]):  # a timer has no area
        bpy.ops.screen.area_dupli("INVOKE_DEFAULT")
    return next(one for one in windows if one not in before).screen.areas[0]


def areas(kind: str) -> Iterator[bpy.types.Area]:
    windows = bpy.context.window_manager.windows if bpy.context.window_manager else ()
    return (area for window in windows for area in window.screen.areas if area.type == kind)
