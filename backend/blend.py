"""Read a .blend file without a window: the add-on's own exporter, in a process of its own.

`export_blend` starts that process; `python -m beyondscene.backend.blend` is what runs in it. So Blender's global state
and its libraries stay out of the caller, and a crash of Blender is an error like another.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from ..protocol import Refusal, RenderRequest, load_request, save_request
from ..protocol.text import one_line

ELSEWHERE = "write a request.json with `beyondscene export` where it can be loaded, and name that"
LEFT_OUT = "Left out: "  # begins each line of the process about somebody who is not in the picture
OTHERWISE = "Not as saved: "  # and about what Blender found otherwise than where the file was saved
POSED = ("collections", "objects", "armatures", "meshes", "actions", "cameras", "node_groups")  # what a request depends on
FAULT = 1  # of Python, for an error that nobody has caught
REFUSED = 3  # exit code of the process for what the user can put right; the sentence is on its standard error


class BlendError(Refusal):
    """A .blend file cannot be exported. The message names the thing, the rule and the next step."""


class Shot(NamedTuple):
    """The request of one frame, and its arrays by digest. frame: None where nobody has named one.

    models: name of the model set that a .blend was saved with; empty where there is no .blend.
    """

    frame: int | None
    request: RenderRequest
    arrays: dict[str, np.ndarray]
    models: str = ""


def export_blend(
    blend: Path,
    width: int | None = None,
    height: int | None = None,
    seed: int | None = None,
    frames: Sequence[int] | None = None,
    *,
    scene: str | None = None,
    camera: str | None = None,
    passes: Path | None = None,
    check: Callable[[Shot], None] = lambda _: None,
) -> Iterator[Shot]:
    """The request of each frame of the scene in `blend`; all are exported before the first comes. Raises BlendError.

    Who is outside the frame, and so not in a request, is said on standard error, as is what Blender could not find or run.

    width, height: pixels; None takes the scene's own size. frames: None takes the one the file was saved at.
    scene, camera: by name; None takes the file's own.
    passes: folder for `depth.npy` and `normals.npy`, numbered as number_path does; None makes none.
    check: called with each before the first comes; a Refusal that it raises is told with the number of the frame.
    """
    if not blend.is_file():
        raise BlendError(f"There is no file {blend}: name an existing .blend.")
    if importlib.util.find_spec("bpy") is None:
        raise BlendError(
            "Reading a .blend needs Blender as a Python module, which is not installed: "
            f"run `pip install bpy` in a Python 3.11 or 3.13, or {ELSEWHERE}."
        )
    with tempfile.TemporaryDirectory(prefix="beyondscene-") as folder:
        outputs = {frame: request_path(Path(folder), frame) for frame in frames or (None,)}
        given = {
            "--width": width,
            "--height": height,
            "--seed": seed,
            "--scene": scene,
            "--camera": camera,
            "--passes": passes and passes.resolve(),
        }
        options = [f"{name}={value}" for name, value in given.items() if value is not None]
        if frames:
            options += ["--frames", *map(str, frames)]
        run_blender(blend, folder, options, outputs.values())
        models = models_path(Path(folder)).read_text("utf-8")
        for shot in read_shots(outputs, models):
            try:
                check(shot)
            except Refusal as refusal:
                if shot.frame is None:
                    raise
                raise Refusal(f"Frame {shot.frame}: {refusal}") from refusal
        yield from read_shots(outputs, models)


def run_blender(blend: Path, folder: str, options: Sequence[str], outputs: Iterable[Path]) -> None:
    """Have `main` write `outputs` to `folder`. Raises BlendError where it refuses or Blender crashes."""
    # a link is not followed: libraries lie relative to where Blender opens the file
    command = [sys.executable, "-m", __spec__.name, str(blend.absolute()), folder, *options]
    own = {"PYTHONIOENCODING": "utf-8", "TMPDIR": folder, "TEMP": folder}  # Blender leaves a folder there
    run = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=os.environ | own, cwd=folder, check=False
    )
    for line in run.stderr.splitlines():
        if line.startswith((LEFT_OUT, OTHERWISE)):
            print(one_line(line), file=sys.stderr)
    if run.returncode == REFUSED:
        raise BlendError(run.stderr.strip().splitlines()[-1])
    if run.returncode == FAULT:
        raise RuntimeError(f"the export of {blend} broke off:\n{run.stderr.strip()}")
    if not all(output.exists() for output in outputs):
        words = (run.stderr.strip() or run.stdout.strip()).splitlines()
        raise BlendError(
            f"Blender ended with code {run.returncode} while reading {blend}: {words[-1] if words else 'no word'}."
        )


def read_shots(outputs: dict[int | None, Path], models: str) -> Iterator[Shot]:
    """Those that lie in files, one at a time: the masks of many frames would fill the memory."""
    for frame, output in outputs.items():
        yield Shot(frame, *load_request(output), models)


def models_path(folder: Path) -> Path:
    """Where the process leaves the name of the scene's model set."""
    return folder / "models.txt"


def request_path(folder: Path, frame: int | None) -> Path:
    """Where the process leaves the request of a frame."""
    return folder / ("request.json" if frame is None else f"request.{frame}.json")


def number_path(path: Path, frame: int | None) -> Path:
    """`path` with the frame's number in place of each run of # in its name, which says how many digits it has at least."""
    if frame is None:
        return path
    return path.with_name(re.sub("#+", lambda run: f"{frame:0{len(run[0])}d}", path.name))


def main() -> int:
    """Open one .blend and write its request. Runs in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("blend", type=Path)
    parser.add_argument("folder", type=Path)
    for name in ("--width", "--height", "--seed"):
        parser.add_argument(name, type=int)
    parser.add_argument("--frames", type=int, nargs="*", default=[None])
    parser.add_argument("--scene")
    parser.add_argument("--camera")
    parser.add_argument("--passes", type=Path)
    args = parser.parse_args()
    try:
        import bpy
    except ImportError as error:  # it is installed, but a library of the system that it is linked with is not
        print(
            f"Reading a .blend needs Blender as a Python module, which cannot be loaded ({error}): install that library of the "
            f"system, or {ELSEWHERE}.",
            file=sys.stderr,
        )
        return REFUSED

    from .. import addon

    addon.register()
    from ..addon.exporters import ExportError, export_request, find_left_out, gather_passes, write_passes

    frame = None
    try:
        open_blend(args.blend, args.scene)
        models_path(args.folder).write_text(bpy.context.scene.beyondscene.models, "utf-8")
        for frame in args.frames:
            go_to(frame, args.camera)
            request, arrays = export_request(
                bpy.context, width=args.width, height=args.height, seed=args.seed, deserted=frame is not None
            )
            for person, why in find_left_out(bpy.context, width=request.width, height=request.height):
                at = "" if frame is None else f"frame {frame}: "
                tell(f"{LEFT_OUT}{at}'{person.name}' {why}.")
            if args.passes:
                passes = gather_passes(bpy.context, request.width, request.height)
                write_passes(number_path(args.passes, frame), passes)
            save_request(request_path(args.folder, frame), request, arrays)
    except (Refusal, ExportError, OSError) as error:
        tell_otherwise()
        where = "" if frame is None else f"Frame {frame}: "
        print(where + " ".join(str(error).split()), file=sys.stderr)
        return REFUSED
    tell_otherwise()
    return 0


def tell(sentence: str) -> None:
    """A line of its own, for export_blend to repeat."""
    print(one_line(sentence), file=sys.stderr)


def tell_otherwise() -> None:
    """What of the open file is not as its artist sees it, and the next step."""
    import bpy

    missing: dict[str, list[str]] = {}
    for kind in POSED:
        for thing in (one for one in getattr(bpy.data, kind) if one.is_missing and one.library):
            missing.setdefault(bpy.path.abspath(thing.library.filepath), []).append(thing.name)
    for library, names in missing.items():
        what = f"'{names[0]}'" + (f" and {len(names) - 1} more" if names[1:] else "")
        tell(f"{OTHERWISE}{what}, linked from {library}, cannot be found there: put it right, or mend the link in Blender.")
    if bpy.app.autoexec_fail and bpy.app.autoexec_fail_message.startswith("Driver"):
        tell(
            f"{OTHERWISE}{bpy.app.autoexec_fail_message} was not evaluated, since it needs Python that Blender runs in files "
            "that are trusted only: bake what it moves, or write it with numbers and variables alone."
        )


def open_blend(path: Path, scene: str | None) -> None:
    """Open the file at this scene. Raises BlendError, with Blender's own words where it cannot be read."""
    import bpy

    try:
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=True)  # its window says which view layer is shown
    except RuntimeError as error:
        words = str(error).removeprefix("Error: ").strip()
        raise BlendError(f"{path} cannot be opened ({words}): see that Blender opens it, and save it from there.") from error
    for thing in [one for one in bpy.data.objects if one.mode in ("EDIT", "SCULPT")]:  # where it has no pose, but in a render
        with bpy.context.temp_override(active_object=thing):
            bpy.ops.object.mode_set(mode="OBJECT")
    if scene is None:
        return
    scenes = bpy.data.scenes.keys()
    if scene not in scenes:
        raise BlendError(f"There is no scene '{scene}' in {path.name}: it has {', '.join(scenes)}.")
    bpy.context.window.scene = bpy.data.scenes[scene]


def go_to(frame: int | None, camera: str | None) -> None:
    """Set the present scene to this frame and look through this camera; None: its own. Raises BlendError, see choose_camera."""
    import bpy

    scene = bpy.context.scene
    if camera is not None:
        choose_camera(camera)  # before the frame: one that is hidden is animated only where it is looked through
    if frame is not None:
        scene.frame_set(frame)
    elif camera is not None:
        scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)
    if camera is not None:
        choose_camera(camera)  # and after it, whose marker may have bound another


def choose_camera(name: str) -> None:
    """Look through this camera of the present scene. Raises BlendError where it has none of the name."""
    import bpy

    scene = bpy.context.scene
    cameras = [one.name for one in scene.objects if one.type == "CAMERA"]
    if name not in cameras:
        raise BlendError(f"There is no camera '{name}' in the scene '{scene.name}': it has {', '.join(cameras) or 'none'}.")
    scene.camera = scene.objects[name]


def leave(code: int) -> NoReturn:
    """End here and now: bpy 4.2 crashes while Python finalises (docs/addon.md), which would hide the code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
