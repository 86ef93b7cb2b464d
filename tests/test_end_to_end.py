"""From a posed .blend to an Image datablock, through the add-on's operator and a real backend process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beyondscene.backend.cli import main
from beyondscene.protocol import SEEN, load_request
from PIL import Image

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


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The pixels of the Image datablock, float (256, 384, 3), 0 to 255."""
    folder = tmp_path_factory.mktemp("renders")
    command = [sys.executable, "-c", RENDER, str(PLAZA), str(folder)]
    environment = os.environ | {"XDG_DATA_HOME": str(folder / "user")}
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    with Image.open(folder / "datablock.png") as saved:
        return np.asarray(saved.convert("RGB")).astype(float)


def chests() -> list[tuple[str, int, int]]:
    """Prompt, x and y of the middle of each person's torso in a picture of 384x256, from the joints measured on the mesh."""
    truth = json.loads(PLAZA.with_suffix(".truth.json").read_text())
    torso = ("RShoulder", "LShoulder", "RHip", "LHip")
    found = []
    for person in truth["characters"]:
        x, y = np.array([person["joints"][name][:2] for name in torso]).mean(0) / 4
        found.append((person["prompt"], round(x), round(y)))
    return found


def test_blend_to_image_datablock(picture: np.ndarray) -> None:
    assert picture.shape == (256, 384, 3)
    assert picture.std() > 10


def test_people_wear_the_shirts_of_their_own_prompts(picture: np.ndarray) -> None:
    for prompt, x, y in chests():
        chest = picture[y - 6 : y + 3, x - 3 : x + 4].reshape(-1, 3).mean(0)
        nearest = min(SHIRTS, key=lambda name: np.abs(hue(SHIRTS[name]) - hue(chest)).sum())
        assert f"{nearest} shirt" in prompt


def hue(colour: tuple[int, int, int] | np.ndarray) -> np.ndarray:
    """Direction of a colour from grey, so that light and shade do not count."""
    away = np.asarray(colour, float) - np.mean(colour)
    return away / max(np.linalg.norm(away), 1e-6)


def test_export_command_reads_the_blend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(PLAZA), "-o", str(tmp_path / "request.json"), "--size", "768x512", "--passes"]) == 0
    assert "768x512, 4 characters" in capsys.readouterr().out
    request, masks = load_request(tmp_path / "request.json")
    seen = [masks[one.mask.digest] for one in request.characters if one.mask]
    assert len(seen) == 4 and all(mask.shape == (512, 768) and mask.any() for mask in seen)
    depth, normals = (np.load(tmp_path / "request.json.arrays" / f"{name}.npy") for name in ("depth", "normals"))
    assert depth.shape == (512, 768) and normals.shape == (512, 768, 3)
    assert np.isfinite(depth[np.any([mask == SEEN for mask in seen], axis=0)]).all()
    assert main(["export", str(PLAZA), "-o", str(tmp_path / "request.json"), "--size", "770x512"]) == 2
    assert "770 px" in capsys.readouterr().err
