"""Each picture comes to the .blend that it was made for: when that is opened, and under whatever name it is saved by then."""

from contextlib import suppress

import bpy
from bpy.app.handlers import persistent

from . import callbacks, history, images
from .pending_pictures import forget, miss, missed
from .session import current

_saved_before = ""  # path of the open .blend when Blender began to save it


@persistent
def add_missed(*_: object) -> None:
    """After a file was opened: it gets the pictures that came while it was not."""
    current().leave_file()
    promises = missed(bpy.data.filepath) if bpy.data.filepath else {}
    for job_id, promise in promises.items():
        if not promise.path.exists():  # perhaps its drive is not there
            with suppress(OSError):
                miss(job_id)
            continue
        with suppress(RuntimeError):  # a file that Blender cannot read
            images.add_missing([promise.path])
        forget(job_id)
    if promises:
        current().missed = None
    history.choose_newest()


@persistent
def note_name(*_: object) -> None:
    global _saved_before
    _saved_before = bpy.data.filepath


@persistent
def follow_name(*_: object) -> None:
    """After the file was saved, perhaps under another name: pictures that were asked for from it come to what is open now."""
    if bpy.data.filepath != _saved_before:
        current().rename_blend(_saved_before, bpy.data.filepath)


def handlers() -> list[callbacks.Handler]:
    lists = bpy.app.handlers
    return [(lists.load_post, add_missed), (lists.save_pre, note_name), (lists.save_post, follow_name)]


def register() -> None:
    callbacks.add(handlers())


def unregister() -> None:
    callbacks.remove(handlers())
