"""Read a .blend file without a window: the add-on's own exporter, in a process of its own.

`export_blend` starts that process; `python -m beyondscene.backend.blend` is what runs in it. So Blender's global state
and its libraries stay out of the caller, and a crash of Blender is an error like another.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..protocol import Refusal, RenderRequest, load_request, save_request

FAULT = 1  # of Python, for an error that nobody has caught
REFUSED = 3  # exit code of the process for what the user can put right; the sentence is on its standard error


class BlendError(Refusal):
    """A .blend file cannot be exported. The message names the thing, the rule and the next step."""


def export_blend(
    blend: Path,
    width: int | None = None,
    height: int | None = None,
    seed: int | None = None,
    frame: int | None = None,
    passes: Path | None = None,
) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The request of the scene in `blend`, and its arrays by digest. Raises BlendError.

    width, height: pixels; None takes the scene's own size. frame: None takes the frame the file was saved at.
    passes: folder for `depth.npy` and `normals.npy`; None makes none.
    """
    if not blend.is_file():
        raise BlendError(f"There is no file {blend}: name an existing .blend.")
    if importlib.util.find_spec("bpy") is None:
        raise BlendError(
            "Reading a .blend needs Blender as a Python module, which is not installed: "
            "run `pip install 'beyondscene[blender]'`, or save a request.json from the add-on and render that."
        )
    with tempfile.TemporaryDirectory(prefix="beyondscene-") as folder:
        output = Path(folder) / "request.json"
        asked = {
            "--width": width,
            "--height": height,
            "--seed": seed,
            "--frame": frame,
            "--passes": passes and passes.resolve(),
        }
        options = [str(word) for name, value in asked.items() if value is not None for word in (name, value)]
        command = [sys.executable, "-m", __spec__.name, str(blend.resolve()), str(output), *options]
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if run.returncode == REFUSED:
            raise BlendError(run.stderr.strip().splitlines()[-1])
        if run.returncode == FAULT:
            raise RuntimeError(f"the export of {blend} broke off:\n{run.stderr.strip()}")
        if not output.exists():
            words = (run.stderr.strip() or run.stdout.strip()).splitlines()
            raise BlendError(
                f"Blender ended with code {run.returncode} while reading {blend}: {words[-1] if words else 'no word'}."
            )
        return load_request(output)


def main() -> int:
    """Open one .blend and write its request. Runs in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("blend", type=Path)
    parser.add_argument("output", type=Path)
    for name in ("--width", "--height", "--seed", "--frame"):
        parser.add_argument(name, type=int)
    parser.add_argument("--passes", type=Path)
    asked = parser.parse_args()
    import bpy

    from .. import addon

    addon.register()
    from ..addon.exporters import ExportError, export_request, gather_passes, write_passes

    try:
        open_blend(asked.blend)
        if asked.frame is not None:
            bpy.context.scene.frame_set(asked.frame)
        request, arrays = export_request(bpy.context, width=asked.width, height=asked.height, seed=asked.seed)
        if asked.passes:
            write_passes(asked.passes, gather_passes(bpy.context, request.width, request.height))
    except (Refusal, ExportError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return REFUSED
    save_request(asked.output, request, arrays)
    return 0


def open_blend(path: Path) -> None:
    """Raises BlendError in Blender's own words."""
    import bpy

    try:
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False)
    except RuntimeError as error:
        raise BlendError(str(error)) from error


def leave(code: int) -> NoReturn:
    """End here and now: bpy 4.2 crashes while Python finalises (docs/addon.md), which would hide the code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
