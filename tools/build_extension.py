"""Build `dist/beyondscene-<version>.zip`, the extension that Blender installs, and have Blender's own tool check it.

    python tools/fetch_wheels.py
    python tools/build_extension.py

The zip is the same, byte for byte, for the same files. `wheels` of its manifest names what lies in `wheels/`.
"""

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SINGLE = ("__init__.py", "LICENSE", "README.md")
PACKAGES = ("addon", "protocol")
PACKED = ("*.py", "*.toml")
MANIFEST = "blender_manifest.toml"
NO_WHEELS = "wheels = []"


def contents(root: Path, wheels: list[Path]) -> dict[str, bytes]:
    """Names in the zip and what each holds. Raises FileNotFoundError for one that is missing."""
    files = {name: (root / name).read_bytes() for name in SINGLE}
    for package in PACKAGES:
        paths = [path for pattern in PACKED for path in (root / package).rglob(pattern)]
        files |= {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    files |= {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels}
    files[MANIFEST] = manifest_with_wheels((root / MANIFEST).read_text(), [wheel.name for wheel in wheels]).encode()
    return files


def manifest_with_wheels(manifest: str, names: list[str]) -> str:
    """The manifest with its empty list of wheels filled. Raises ValueError if there is no such list."""
    if manifest.count(NO_WHEELS) != 1:
        raise ValueError(f"{MANIFEST} must hold the line '{NO_WHEELS}' once: the build fills it")
    lines = "".join(f'  "./wheels/{name}",\n' for name in sorted(names))
    return manifest.replace(NO_WHEELS, f"wheels = [\n{lines}]")


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), files[name], zipfile.ZIP_DEFLATED)


def blender_extension_tool() -> Path | None:
    """Blender's own command line for extensions, out of the bpy wheel; it runs in any Python."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"), None)


def main() -> int:
    wheels = sorted((ROOT / "wheels").glob("*.whl"))
    if not wheels:
        print("wheels/ is empty, and Blender has neither pyzmq nor msgspec: run tools/fetch_wheels.py first.", file=sys.stderr)
        return 1
    version = tomllib.loads((ROOT / MANIFEST).read_text())["version"]
    target = ROOT / "dist" / f"beyondscene-{version}.zip"
    target.parent.mkdir(exist_ok=True)
    write_zip(target, contents(ROOT, wheels))
    print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB, {len(wheels)} wheels")
    tool = blender_extension_tool()
    if tool is None:
        print("Not validated: install the bpy wheel, or run `blender --command extension validate` on it.")
        return 0
    return subprocess.run([sys.executable, str(tool), "validate", str(target)], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
