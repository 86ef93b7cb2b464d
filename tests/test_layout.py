"""The rules that keep the package one package in two homes: who may import whom, what is listed, explained and shipped."""

import ast
import importlib
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from beyondscene.backend.cli import COMMANDS
from beyondscene.backend.evaluation.methods import METHODS
from beyondscene.backend.evaluation.page import COLUMNS
from beyondscene.backend.evaluation.summary import METRICS
from beyondscene.backend.models.kinds import SEGMENTERS
from beyondscene.backend.outputs import FORMATS
from beyondscene.protocol import PictureFormat, RenderSettings

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MANIFEST = tomllib.loads((ROOT / "blender_manifest.toml").read_text())

# top-level names that no file below a folder may import, at any depth of its code
FORBIDDEN = {
    "protocol": {"bpy", "mathutils", "zmq", "torch", "diffusers", "transformers", "cv2", "PIL"},
    "addon": {"torch", "diffusers", "transformers", "cv2", "PIL"},
    "backend": {"mathutils", "bpy"},
    "backend/gateway": {"torch", "diffusers", "transformers", "bpy"},
    "backend/planning": {"torch", "diffusers", "transformers", "cv2", "zmq", "bpy"},
    "backend/pipeline": {"zmq", "bpy"},
    "backend/mannequins": {"torch", "diffusers", "transformers", "zmq", "bpy"},
    "backend/training": {"zmq", "bpy"},
}
# our own folders that no file below a folder may import
OUT_OF_BOUNDS = {"protocol": {"addon", "backend"}, "addon": {"backend"}, "backend": {"addon"}}
# only this file may start Blender or the bpy wheel, in a process of its own
BLEND = ROOT / "backend" / "blend.py"
NEVER = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "yaml"}


def sources(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return files


def build_extension() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("build_extension")
    finally:
        sys.path.pop(0)


def imports(path: Path) -> list[tuple[str, str]]:
    """(kind, name) of each import: ("outside", top-level name) or ("inside", folder below the root)."""
    found = []
    package = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [("outside", alias.name.partition(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(("outside", (node.module or "").partition(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            parts = (*base, *(node.module or "").split(".")) if node.module else base
            names = [parts] if parts else [(alias.name,) for alias in node.names]
            found += [("inside", name[0]) for name in names]
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_folder_imports_only_what_it_may(folder: str) -> None:
    for path in sources(folder):
        for kind, name in imports(path):
            if kind == "outside" and path != BLEND:
                assert name not in FORBIDDEN[folder], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", OUT_OF_BOUNDS)
def test_folders_know_only_the_protocol(folder: str) -> None:
    for path in sources(folder):
        for kind, name in imports(path):
            if kind == "inside" and path != BLEND:
                assert name not in OUT_OF_BOUNDS[folder], f"{path.relative_to(ROOT)} imports {name}"


def test_imports_inside_the_package_are_relative_and_nothing_unpickles() -> None:
    for folder in ("protocol", "addon", "backend"):
        for path in sources(folder):
            outside = {name for kind, name in imports(path) if kind == "outside"}
            assert "beyondscene" not in outside, f"{path.relative_to(ROOT)} names the package"
            assert not outside & NEVER, f"{path.relative_to(ROOT)} imports {outside & NEVER}"
            text = path.read_text()
            assert "torch.load(" not in text and "torch.save(" not in text, path


BANNED_CALLS = {"eval", "exec", "compile"}  # of the builtins; a network's own eval() is a method
BANNED_METHODS = {"recv_pyobj", "send_pyobj", "recv_serialized"}


def test_nothing_evaluates_what_it_is_given_and_no_socket_listens_everywhere() -> None:
    for folder in ("protocol", "addon", "backend"):
        for path in sources(folder):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = getattr(node.func, "id", "") if isinstance(node.func, ast.Name) else ""
                    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                    assert called not in BANNED_CALLS, f"{path}:{node.lineno} calls {called}"
                    assert method not in BANNED_METHODS, f"{path}:{node.lineno} calls {method}"
                    if method == "bind":
                        words = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
                        assert not any(isinstance(word, str) and ("*" in word or "0.0.0.0" in word) for word in words), path


def test_root_imports_nothing_until_blender_calls() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


FAMILIES = [tomllib.loads(path.read_text())["label"] for path in (ROOT / "addon" / "exporters" / "rigs").rglob("*.toml")]


@pytest.mark.parametrize(
    ("page", "name"),
    [
        *(("evaluation.md", f"| `{name}` |") for name in METHODS),
        *(("evaluation.md", f"`{name}`") for name in METRICS),
        *(("models.md", f"`{name}`") for name in SEGMENTERS),
        *(("outputs.md", f"`{suffix}`") for suffix in FORMATS),
        *(("method.md", f"`{name}`") for name in RenderSettings.__struct_fields__),
        *(("addon.md", f"| {label} |") for label in FAMILIES),
        *(("*.md", f"beyondscene {name}") for name in COMMANDS),
    ],
)
def test_what_can_be_chosen_is_explained(page: str, name: str) -> None:
    assert any(name in path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob(page)))


def test_tables_of_one_thing_have_the_same_names() -> None:
    formats = get_args(PictureFormat)
    assert set(FORMATS.values()) == set(formats) and all(FORMATS[f".{name}"] == name for name in formats)
    assert [name for name, *_ in COLUMNS] == list(METRICS)
    texts = {path.stem: path.read_text() for path in sources("backend/cli")}
    assert {name for name, text in texts.items() if "\ndef add_arguments(" in text} == set(COMMANDS)


def test_every_package_is_listed() -> None:
    tops = ("protocol", "addon", "backend")
    folders = {path.parent.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("__init__.py")}
    expected = {"beyondscene"} | {".".join(("beyondscene", *folder.parts)) for folder in folders}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == expected


def test_data_of_the_addon_is_in_the_wheel_and_in_the_zip() -> None:
    files = [path for top in ("addon", "protocol") for path in (ROOT / top).rglob("*") if path.is_file()]
    data = {path for path in files if path.suffix != ".py" and "__pycache__" not in path.parts}
    assert data
    listed = PYPROJECT["tool"]["setuptools"]["package-data"]
    folders = {package: ROOT.joinpath(*package.split(".")[1:]) for package in listed}
    assert data <= {path for package, patterns in listed.items() for one in patterns for path in folders[package].glob(one)}
    assert {path.relative_to(ROOT).as_posix() for path in data} <= build_extension().contents(ROOT, []).keys()


def test_versions_are_equal() -> None:
    assert PYPROJECT["project"]["version"] == MANIFEST["version"]


def test_zip_holds_the_extension_and_nothing_else(tmp_path: Path) -> None:
    build = build_extension()
    build.write_zip(tmp_path / "extension.zip", build.contents(ROOT, []))
    with zipfile.ZipFile(tmp_path / "extension.zip") as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert top <= {"__init__.py", "blender_manifest.toml", "addon", "protocol", "wheels", "LICENSE", "README.md"}
    assert {"__init__.py", "blender_manifest.toml", "addon", "protocol", "LICENSE"} <= top
    assert not [name for name in names if "__pycache__" in name or "/." in name]


def test_no_tracked_file_is_too_large() -> None:
    for path in (ROOT / "backend" / "models" / "embedded").rglob("*"):
        assert path.stat().st_size < 16e6, path
