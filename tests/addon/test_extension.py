"""The zip that Blender installs."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_extension", ROOT / "tools" / "build_extension.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    path = tmp_path / "pyzmq-27.3.0-cp312-abi3-win_amd64.whl"
    path.write_bytes(b"")
    return [path]


def test_the_zip_holds_the_addon_and_nothing_of_the_backend(build: ModuleType, wheels: list[Path]) -> None:
    files = build.contents(ROOT, wheels)
    assert {name.split("/")[0] for name in files} == {
        "__init__.py",
        "blender_manifest.toml",
        "addon",
        "protocol",
        "wheels",
        "LICENSE",
        "README.md",
    }
    manifest = tomllib.loads(files["blender_manifest.toml"].decode())
    assert manifest["wheels"] == ["./wheels/pyzmq-27.3.0-cp312-abi3-win_amd64.whl"]
    assert not any("__pycache__" in name for name in files)


def test_the_same_files_make_the_same_zip(build: ModuleType, wheels: list[Path], tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        build.write_zip(tmp_path / name, build.contents(ROOT, wheels))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_blenders_own_tool_accepts_it(build: ModuleType, wheels: list[Path], tmp_path: Path) -> None:
    tool = build.blender_extension_tool()
    if tool is None:
        pytest.skip("needs the bpy wheel")
    build.write_zip(tmp_path / "a.zip", build.contents(ROOT, wheels))
    done = subprocess.run(
        [sys.executable, str(tool), "validate", str(tmp_path / "a.zip")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
