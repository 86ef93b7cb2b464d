"""Image Editors: in which of them a picture may be shown, the picture that grows, and what was there before it."""

from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from . import blender_render, callbacks
from .images import NAME, PREVIEW, add_image, follow_frames, is_ours

Editor = tuple[bpy.types.Window, bpy.types.Area]

_before: dict[int, str] = {}  # name of the image that the preview took the place of, by the address of the area


def load_picture(path: Path) -> bpy.types.Image:
    """The file as an Image datablock, see add_image, shown in the editors that are free."""
    image = add_image(path)
    show(image)
    remove_preview()
    return image


def show(image: bpy.types.Image, *, resized: bool = False) -> int:
    """Show `image` in the Image Editors that are free, and how many these are.

    Where another one was shown before, or this one is `resized`, the whole of it comes into view.
    """
    editors = free_editors()
    for editor in editors:
        put(editor, image, resized)
    return len(editors)


def free_editors() -> list[Editor]:
    """Those that show nothing, the render result, or an image of ours. What is pinned, where an artist edits UVs, paints or
    masks, and the render result while Blender renders, is left alone.
    """
    return [(window, area) for window, area in all_editors() if is_free(area.spaces.active)]


def is_free(space: bpy.types.SpaceImageEditor) -> bool:
    image = space.image
    finished = image is not None and image.type == "RENDER_RESULT" and not blender_render.is_running()
    replaceable = image is None or finished or is_ours(image) or image.name.lstrip(".").startswith(NAME.strip())
    return replaceable and space.mode == "VIEW" and not space.use_image_pin


def all_editors() -> list[Editor]:
    windows = bpy.context.window_manager.windows if bpy.context.window_manager else ()
    return [(window, area) for window in windows for area in window.screen.areas if area.type == "IMAGE_EDITOR"]


def put(editor: Editor, image: bpy.types.Image | None, resized: bool = False) -> None:
    window, area = editor
    if resized or area.spaces.active.image != image:
        area.spaces.active.image = image
        if image is not None:
            follow_frames(area.spaces.active.image_user, image)
        region = next(one for one in area.regions if one.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region):
            if image is not None and bpy.ops.image.view_all.poll():
                bpy.ops.image.view_all(fit_view=True)
    area.tag_redraw()


def show_preview(jpeg: bytes) -> None:
    """Show the picture so far: the first time in the editors that are free, then in those that still show it or are empty.

    What an artist looks at meanwhile is left alone.
    """
    image = bpy.data.images.get(PREVIEW)
    editors = [one for one in free_editors() if image is None or one[1].spaces.active.image in (None, image)]
    if not editors:
        return
    path = Path(bpy.app.tempdir) / "beyondscene preview.jpg"
    path.write_bytes(jpeg)
    if image is None:
        image = bpy.data.images.load(str(path))
        image.name = PREVIEW
    before = tuple(image.size)
    image.reload()
    for editor in editors:
        shown = editor[1].spaces.active.image
        if shown != image:  # where an undo has taken it away, what was there before is known
            _before.setdefault(editor[1].as_pointer(), shown.name if shown else "")
        put(editor, image, resized=before != tuple(image.size))


def remove_preview() -> None:
    """Editors that still show it show again what they did before."""
    image = bpy.data.images.get(PREVIEW)
    if image is not None:
        for window, area in all_editors():
            if area.spaces.active.image == image:
                put((window, area), bpy.data.images.get(_before.get(area.as_pointer(), "")))
        bpy.data.images.remove(image)
    _before.clear()


@persistent
def leave_out_preview(*_: object) -> None:
    """Before a file is saved: its preview would be there for ever, and a file that is gone by then."""
    remove_preview()


@persistent
def forget_preview(*_: object) -> None:
    """After a file was opened, which an automatic save may have left one in."""
    _before.clear()
    remove_preview()


def handlers() -> list[callbacks.Handler]:
    return [(bpy.app.handlers.save_pre, leave_out_preview), (bpy.app.handlers.load_post, forget_preview)]


def register() -> None:
    callbacks.add(handlers())


def unregister() -> None:
    callbacks.remove(handlers())
    _before.clear()
