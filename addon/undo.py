"""A picture that took minutes is no edit of the scene: an undo takes it neither from the file nor from the Image Editors."""

from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from . import callbacks, preview
from .editors import all_editors
from .images import add_missing, finished_pictures, follow_frames, path_of
from .thumbnails import is_growing

remembered: list[Path] = []  # files of the pictures that were here before an undo
_of_the_state: set[Path] = set()  # those that the state of the file had by itself to which the last undo or redo went
_shown: dict[int, Path] = {}  # those that an Image Editor showed then, by the address of the area


@persistent
def remember_pictures(*_: object) -> None:
    """Before an undo or redo: Blender is about to go to a state of the file that may not have our pictures yet."""
    ours = finished_pictures()
    remembered[:] = map(path_of, ours)
    _shown.clear()
    for _, area in all_editors():
        image = area.spaces.active.image
        if image in ours:
            _shown[area.as_pointer()] = path_of(image)


@persistent
def remember_others(*_: object) -> None:
    """Before a redo: which of the pictures of this state are not in the next were deleted in between, and go."""
    remember_pictures()
    remembered[:] = [path for path in remembered if path not in _of_the_state]


@persistent
def restore_pictures(*_: object) -> None:
    """After it."""
    _of_the_state.clear()
    _of_the_state.update(map(path_of, finished_pictures()))
    if not is_growing():
        preview.leave()  # of a picture that grew when the state was made, and has come since
    add_missing(remembered)
    here = {path_of(image): image for image in finished_pictures()}
    for _, area in all_editors():
        space, path = area.spaces.active, _shown.get(area.as_pointer())
        if space.image is None and path in here:
            space.image = here[path]
            follow_frames(space.image_user, space.image)


def handlers() -> list[callbacks.Handler]:
    lists = bpy.app.handlers
    before = [(lists.undo_pre, remember_pictures), (lists.redo_pre, remember_others)]
    return before + [(one, restore_pictures) for one in (lists.undo_post, lists.redo_post)]


def register() -> None:
    callbacks.add(handlers())


def unregister() -> None:
    callbacks.remove(handlers())
    remembered.clear()
    _of_the_state.clear()
    _shown.clear()
