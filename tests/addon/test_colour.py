"""Pictures under another colour configuration than Blender's own, as studios have one."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("bpy")

CONFIG = """ocio_profile_version: 2
roles: {default: Linear, scene_linear: Linear, data: Raw, default_byte: NAME, default_sequencer: NAME}
displays:
  Monitor:
    - !<View> {name: Standard, colorspace: NAME}
colorspaces:
  - !<ColorSpace> {name: Linear}
  - !<ColorSpace> {name: Raw, isdata: true}
  - !<ColorSpace> {name: NAME, to_scene_reference: !<ExponentTransform> {value: 2.2}}
"""
SCRIPT = """
import sys
from pathlib import Path
import bpy
from beyondscene.addon import images
from beyondscene.addon.destinations import put
image = images.add_image(Path(sys.argv[1]))
put(bpy.context, image, "SEQUENCER")
editor = bpy.context.scene.sequence_editor
(strip,) = editor.strips if hasattr(editor, "strips") else editor.sequences  # before 4.4
print(image.use_fake_user, image.colorspace_settings.name, strip.colorspace_settings.name, sep="|")
"""


@pytest.mark.parametrize("name", ["sRGB - Texture", "Studio Texture"])
def test_a_picture_comes_whatever_a_colour_configuration_calls_srgb(tmp_path: Path, name: str) -> None:
    config = tmp_path / "studio.ocio"
    config.write_text(CONFIG.replace("NAME", name))
    picture = tmp_path / "duo 0001.png"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(picture)],
        env={**os.environ, "OCIO": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"True|{name}|{name}"
