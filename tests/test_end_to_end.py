"""From a posed .blend to an Image datablock, through the add-on's operator and a real backend process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beyondscene.backend.cli import main

pytest.importorskip("bpy")
ROOT = Path(__file__).parent.parent
PLAZA = ROOT / "examples" / "plaza.blend"

RENDER = """
import sys
from pathlib import Path
import bpy
from beyondscene import addon

blend, folder = sys.argv[1:]
addon.register()
bpy.ops.wm.open_mainfile(filepath=blend)
scene = bpy.context.scene
scene.beyondscene.output_folder = folder
scene.beyondscene.use_own_size, scene.beyondscene.width, scene.beyondscene.height = True, 384, 256
before = {o.name: o.matrix_world.copy() for o in scene.objects}
assert bpy.ops.beyondscene.render(wait=True) == {"FINISHED"}
assert before == {o.name: o.matrix_world for o in scene.objects}
(image,) = [i for i in bpy.data.images if i.filepath]
assert tuple(image.size) == (384, 256) and image.colorspace_settings.name == "sRGB"
image.save(filepath=str(Path(folder) / "datablock.png"))
"""

SHIRTS = {"red": (200, 40, 40), "yellow": (225, 200, 40), "green": (40, 150, 60), "purple": (130, 50, 160)}


def test_blend_to_image_datablock(tmp_path: Path) -> None:
    """Four people stand where their rigs do, in the shirts of their own prompts."""
    run = subprocess.run(
        [sys.executable, "-c", RENDER, str(PLAZA), str(tmp_path)], capture_output=True, text=True, timeout=500, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    from PIL import Image

    with Image.open(tmp_path / "datablock.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    truth = json.loads((ROOT / "examples" / "plaza.truth.json").read_text())
    right = 0
    for person in truth["characters"]:
        shoulders = [person["joints"][name][:2] for name in ("RShoulder", "LShoulder", "RHip", "LHip")]
        x, y = (np.array(shoulders).mean(0) / 4).round().astype(int)
        chest = pixels[y - 6 : y + 3, x - 3 : x + 4].reshape(-1, 3).mean(0)
        nearest = min(SHIRTS, key=lambda name: np.abs(hue(SHIRTS[name]) - hue(chest)).sum())
        right += f"{nearest} shirt" in person["prompt"]
    assert right >= 3


def hue(colour: tuple[int, int, int] | np.ndarray) -> np.ndarray:
    """Direction of a colour from grey, so that light and shade do not count."""
    away = np.asarray(colour, float) - np.mean(colour)
    return away / max(np.linalg.norm(away), 1e-6)


def test_export_command_reads_the_blend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(PLAZA), "-o", str(tmp_path / "request.json"), "--size", "768x512"]) == 0
    assert "768x512, 4 characters" in capsys.readouterr().out
    assert main(["export", str(PLAZA), "-o", str(tmp_path / "request.json"), "--size", "770x512"]) == 2
    assert "770 px" in capsys.readouterr().err
