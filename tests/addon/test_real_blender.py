"""The extension in a Blender with a window, installed from a repository as an artist would.

BLENDER names the program, e.g. `BLENDER=/opt/blender/blender make test-all`; it is started with a folder of its own for
settings and extensions. `tools/fetch_wheels.py` must have been run.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLENDER = os.environ.get("BLENDER", "")
WHEELS = sorted((ROOT / "wheels").glob("*.whl"))
SCRIPT = Path(__file__).with_name("drive_window.py")
REPOSITORY = "studio"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BLENDER, reason="the environment variable BLENDER names no Blender"),
    pytest.mark.skipif(not WHEELS, reason="wheels/ is empty: run tools/fetch_wheels.py"),
]


class Blender:
    """A Blender with settings of its own in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str, timeout_s: float = 120) -> str:
        """What it printed. Raises AssertionError where it ended with another code than 0."""
        environment = {**os.environ, "BLENDER_USER_RESOURCES": str(self.home)}
        environment.pop("PYTHONPATH", None)  # only what was installed counts
        done = subprocess.run(
            [BLENDER, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.home,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def installed(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Blender:
    """A Blender that has installed and enabled the extension from the index of a static repository."""
    folder, home = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("home")
    blender = Blender(home)
    build.build_each(folder, WHEELS, "0.1.0")
    blender.run("--command", "extension", "server-generate", "--repo-dir", str(folder))
    index = (folder / "index.json").as_uri()
    blender.run("--command", "extension", "repo-add", "--clear-all", "--url", index, REPOSITORY)
    blender.run("--online-mode", "--command", "extension", "install", "--sync", "--enable", "beyondscene")
    return blender


def test_the_zip_of_this_platform_comes_from_the_repository(build: ModuleType, installed: Blender) -> None:
    assert "beyondscene" in installed.run("--command", "extension", "list")
    folder = installed.home / "extensions" / REPOSITORY / "beyondscene"
    names = {path.name for path in (folder / "wheels").glob("*.whl")}
    (own,) = [one for one in build.PLATFORMS if names == {wheel.name for wheel in WHEELS if build.runs_on(wheel.name, one)}]
    assert own.startswith({"linux": "linux", "darwin": "macos", "win32": "windows"}[sys.platform])
    script = (
        "import bpy, zmq, msgspec; from pathlib import Path; print('operator', bpy.ops.beyondscene.render.idname());"
        "print('zmq', zmq.__file__)"
    )
    printed = installed.run("--background", "--python-expr", script)
    assert "operator BEYONDSCENE_OT_render" in printed


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Path]:
    """The key file of a backend with the embedded model."""
    ready = tmp_path / "ready.json"
    command = [
        sys.executable,
        "-m",
        "beyondscene.backend",
        "serve",
        "--data",
        str(tmp_path / "data"),
        "--ready-file",
        str(ready),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not ready.exists():
        assert process.poll() is None and time.monotonic() < deadline, "the backend did not begin to listen"
        time.sleep(0.1)
    yield ready
    process.terminate()
    process.wait(60)


def test_a_key_press_in_the_window_brings_a_picture_into_the_image_editor(
    installed: Blender, backend: Path, tmp_path: Path
) -> None:
    result = tmp_path / "result.json"
    # a Blender in a container may see temporary folders alone, and waits for ever where there is no script to end it
    example, script = (str(shutil.copy(one, tmp_path)) for one in (ROOT / "examples" / "duo.blend", SCRIPT))
    told_to = ["--python-exit-code", "1", "--python", script, "--", str(backend), str(result), str(tmp_path / "renders")]
    installed.run("--enable-event-simulate", example, *told_to, timeout_s=400)
    told: dict[str, Any] = json.loads(result.read_text())
    print(json.dumps(told, indent=1))
    assert told["error"] == "" and told["shown"] == told["picture"] == "BeyondScene duo 0001"
    assert told["size"] == [256, 256] and told["file_exists"]
    assert len(told["stages"]) >= 3  # it told how far it was
    assert told["whole_in_view"]
    assert told["in_new_windows"] == ["BeyondScene duo 0001"]
    assert told["left"] == ["BeyondScene duo 0002"]  # of the first one the dialog has asked
