"""The zip that Blender installs."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


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


def test_it_asks_for_what_it_touches_and_no_more(build: ModuleType, wheels: list[Path]) -> None:
    files = build.contents(ROOT, wheels)
    source = b"".join(text for name, text in files.items() if name.endswith(".py"))
    traces = {"network": b"import zmq", "files": b".write_bytes(", "clipboard": b".clipboard"}
    asked = tomllib.loads(files["blender_manifest.toml"].decode())["permissions"]
    assert set(asked) == {permission for permission, trace in traces.items() if trace in source}


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


WHEELS = {
    "pyzmq-27.3.0-cp311-cp311-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl": {"linux-x64"},
    "pyzmq-27.3.0-cp312-abi3-win_amd64.whl": {"windows-x64"},
    "pyzmq-27.3.0-cp312-abi3-win_arm64.whl": {"windows-arm64"},
    "pyzmq-27.3.0-cp312-abi3-macosx_10_15_universal2.whl": {"macos-arm64", "macos-x64"},
    "msgspec-0.22.0-cp313-cp313-macosx_11_0_arm64.whl": {"macos-arm64"},
    "msgspec-0.22.0-cp313-cp313-macosx_10_13_x86_64.whl": {"macos-x64"},
    "plain-1.0-py3-none-any.whl": {"linux-x64", "windows-x64", "windows-arm64", "macos-arm64", "macos-x64"},
}


@pytest.fixture
def all_wheels(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in WHEELS]
    for path in paths:
        path.write_bytes(b"")
    return paths


def test_each_platform_gets_its_own_wheels(build: ModuleType, all_wheels: list[Path]) -> None:
    for platform in build.PLATFORMS:
        files = build.contents(ROOT, all_wheels, platform)
        packed = {name.removeprefix("wheels/") for name in files if name.startswith("wheels/")}
        assert packed == {name for name, platforms in WHEELS.items() if platform in platforms}
        manifest = tomllib.loads(files["blender_manifest.toml"].decode())
        assert manifest["platforms"] == [platform]
        assert {Path(name).name for name in manifest["wheels"]} == packed


def test_the_repository_lists_a_zip_for_each_platform(build: ModuleType, all_wheels: list[Path], tmp_path: Path) -> None:
    tool = build.blender_extension_tool()
    if tool is None:
        pytest.skip("needs the bpy wheel")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "beyondscene-0.0.9-linux_x64.zip").write_bytes(b"of an earlier version")
    zips = build.build_each(folder, all_wheels, "0.1.0")
    assert sorted(folder.iterdir()) == sorted(zips)
    command = [sys.executable, str(tool), "server-generate", "--repo-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads((folder / "index.json").read_text())["data"]
    assert {one["id"] for one in listed} == {"beyondscene"}
    assert sorted(platform for one in listed for platform in one["platforms"]) == sorted(build.PLATFORMS)
    assert {Path(one["archive_url"]).name for one in listed} == {path.name for path in zips}
