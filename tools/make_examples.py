"""Make `examples/` from posed scenes: `<scene>.blend` plus `<scene>.truth.json` with prompts and measured joints.

    python tools/make_examples.py FOLDER

Writes each scene with its prompts saved through the add-on's own properties, and a copy of its truth. Needs the bpy wheel.
"""

import json
import shutil
import sys
from pathlib import Path

import bpy
from beyondscene import addon

EXAMPLES = Path(__file__).parent.parent / "examples"


def make_example(source: Path) -> None:
    truth = json.loads(source.with_suffix(".truth.json").read_text())
    bpy.ops.wm.open_mainfile(filepath=str(source))
    scene = bpy.context.scene
    scene.name = truth["scene"]
    scene.beyondscene.prompt = truth["prompt"]
    for character in truth["characters"]:
        bpy.data.objects[character["name"]].beyondscene.prompt = character["prompt"]
    face_the_camera()
    bpy.context.preferences.filepaths.save_version = 0
    bpy.ops.wm.save_as_mainfile(filepath=str(EXAMPLES / source.name), compress=True, copy=True)
    shutil.copyfile(source.with_suffix(".truth.json"), EXAMPLES / f"{source.stem}.truth.json")


def face_the_camera() -> None:
    """Whoever opens the file looks through its camera, with the sidebar open and nothing selected."""
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                area.spaces.active.region_3d.view_perspective = "CAMERA"
                area.spaces.active.show_region_ui = True
    for one in bpy.context.scene.objects:
        one.select_set(False)
    bpy.context.view_layer.objects.active = None


def main() -> None:
    addon.register()
    for source in sorted(Path(sys.argv[1]).resolve().glob("*.blend")):
        make_example(source)
    addon.unregister()


if __name__ == "__main__":
    main()
