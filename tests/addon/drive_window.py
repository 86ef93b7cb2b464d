"""Run inside a Blender with a window: press a key that is bound to Render, wait, and write down what an artist would see.

blender --enable-event-simulate FILE.blend --python drive_window.py -- KEY_FILE RESULT.json FOLDER
"""

import json
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

KEY_FILE, RESULT, FOLDER = sys.argv[sys.argv.index("--") + 1 :][:3]
KEY, PLACE_KEY, DELETE_KEY = "F5", "F6", "F7"
BEAT_S = 0.05
LIMIT_S = 300.0

told: dict[str, Any] = {"error": "", "picture": "", "shown": "", "stages": [], "heard": 0, "longest_tick_s": 0.0}


def module(own: str) -> Any:
    (name,) = [name for name in sys.modules if name.endswith(f".beyondscene.addon.{own}")]
    return sys.modules[name]


def press(window: Any, kind: str, area: Any) -> None:
    x, y = area.x + area.width // 3, area.y + area.height // 2
    window.event_simulate("MOUSEMOVE", "NOTHING", x=x, y=y)
    for value in ("PRESS", "RELEASE"):
        window.event_simulate(kind, value, x=x, y=y)


def steps() -> Iterator[None]:
    """What is done, a beat between two yields."""
    window = bpy.context.window_manager.windows[0]
    viewport = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    next(area for area in window.screen.areas if area.type == "OUTLINER").type = "IMAGE_EDITOR"
    for addon in bpy.context.preferences.addons:
        if addon.module.endswith(".beyondscene"):
            addon.preferences.place, addon.preferences.connection_file = "OTHER", KEY_FILE
    keymap = bpy.context.window_manager.keyconfigs.addon.keymaps.new(name="3D View", space_type="VIEW_3D")
    keymap.keymap_items.new("beyondscene.render", KEY, "PRESS")
    keymap.keymap_items.new("beyondscene.place_picture", PLACE_KEY, "PRESS").properties.destination = "IMAGE_EDITOR"
    keymap.keymap_items.new("beyondscene.delete_picture", DELETE_KEY, "PRESS")
    own = bpy.context.scene.beyondscene
    own.use_own_size, own.width, own.height, own.output_folder = True, 256, 256, FOLDER
    own.quality, own.knobs.steps = "CUSTOM", 6
    yield
    yield
    press(window, KEY, viewport)
    began = time.monotonic()
    state = module("session").current()
    while not state.jobs and not state.error:
        assert time.monotonic() - began < 30, "the key did nothing"
        yield
    whole_tick = state.tick

    def tick(*budget: float) -> bool:
        began = time.monotonic()
        changed = whole_tick(*budget)
        told["longest_tick_s"] = max(told["longest_tick_s"], time.monotonic() - began)
        return changed

    state.tick = tick
    while state.jobs:
        assert time.monotonic() - began < LIMIT_S, "the picture did not come"
        job = state.job
        if job.status.split(",")[0] not in told["stages"]:
            told["stages"].append(job.status.split(",")[0])
        told["heard"] += 1
        yield
    told["seconds"] = time.monotonic() - began
    for _ in range(20):  # the editor takes a moment to draw it
        yield
    editor = next(area for area in window.screen.areas if area.type == "IMAGE_EDITOR").spaces.active
    told["error"], told["picture"] = state.error, state.picture.name
    told["shown"] = editor.image.name if editor.image else ""
    if editor.image:
        told["size"] = list(editor.image.size)
        told["file_exists"] = Path(bpy.path.abspath(editor.image.filepath)).exists()
        region = next(
            one for area in window.screen.areas if area.spaces.active == editor for one in area.regions if one.type == "WINDOW"
        )
        corners = [region.view2d.view_to_region(x, y, clip=False) for x, y in ((0, 0), (1, 1))]
        told["whole_in_view"] = all(-1 <= x <= region.width + 1 and -1 <= y <= region.height + 1 for x, y in corners)
    next(area for area in window.screen.areas if area.type == "IMAGE_EDITOR").type = "OUTLINER"
    yield
    with bpy.context.temp_override(window=window, area=viewport):
        bpy.ops.screen.screen_full_area(use_hide_panels=True)  # where Blender opens no main window
    yield
    press(window, PLACE_KEY, window.screen.areas[0])  # with no Image Editor left, into a new window: Blender ended here
    for _ in range(40):
        yield
    told["in_new_windows"] = [
        area.spaces.active.image.name
        for one in bpy.context.window_manager.windows[1:]
        for area in one.screen.areas
        if area.type == "IMAGE_EDITOR"
    ]
    press(window, DELETE_KEY, window.screen.areas[0])
    for _ in range(10):
        yield
    later = Path(FOLDER, "duo 0002.png")  # comes while the dialog asks of the first
    later.write_bytes(Path(FOLDER, "duo 0001.png").read_bytes())
    module("images").add_image(later)
    state.picture = module("images").PictureRef()  # so the newest is the chosen one, as when one has come
    press(window, "RET", window.screen.areas[0])
    for _ in range(10):
        yield
    told["left"] = [image.name for image in module("images").finished_pictures()]


todo = steps()


def beat() -> float | None:
    try:
        next(todo)
    except StopIteration:
        pass
    except Exception:
        told["error"] = traceback.format_exc()
    else:
        return BEAT_S
    Path(RESULT).write_text(json.dumps(told))
    bpy.context.preferences.use_preferences_save = False
    bpy.ops.wm.quit_blender()
    return None


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(beat, first_interval=2.0)
