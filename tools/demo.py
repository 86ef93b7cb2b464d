"""The main job from end to end: a posed .blend, the add-on's own operator, a real backend process, a picture.

    python tools/demo.py [SCENE.blend]

Opens the scene in Blender (the `bpy` module), renders it through the add-on and leaves `out/NAME.png` and
`out/NAME.blend`, the scene with the picture in it as an Image datablock.
"""

import sys
import time
from pathlib import Path

import bpy
from beyondscene import addon
from beyondscene.addon import session
from beyondscene.protocol import KEYPOINT_NAMES

ROOT = Path(__file__).parent.parent


def main() -> int:
    blend = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "examples" / "plaza.blend").resolve()
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    addon.register()
    start = time.monotonic()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(blend))
        scene = bpy.context.scene
        assert scene is not None
        scene.beyondscene.output_folder = str(out)
        print(f"{blend.name}: rendering through the add-on, with a backend of its own", flush=True)
        bpy.ops.beyondscene.render(wait=True)
    except RuntimeError:  # Blender has said why
        print("No picture.", file=sys.stderr)
        return 1
    scene.beyondscene.property_unset("output_folder")
    image = session.current().picture.find()
    assert image
    picture, saved = out / f"{blend.stem}.png", out / f"{blend.stem}.blend"
    image.filepath = str(Path(bpy.path.abspath(image.filepath)).replace(picture))
    image.pack()
    image.use_fake_user = True  # else Blender drops a datablock that nothing uses when the file is read
    bpy.ops.wm.save_as_mainfile(filepath=str(saved))
    width, height = image.size
    print(
        f"Done in {time.monotonic() - start:.0f} s: armatures to {len(KEYPOINT_NAMES)} joints each, sent to the backend over "
        f"ZeroMQ, rendered through every stage with the model set '{scene.beyondscene.models}', and loaded back.\n"
        f"  {picture.relative_to(ROOT)}  the picture, {width}x{height}\n"
        f"  {saved.relative_to(ROOT)}  the scene, with the picture as the Image datablock '{image.name}'"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
