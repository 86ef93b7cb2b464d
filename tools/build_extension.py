"""Build `dist/beyondscene-<version>.zip`, the extension that Blender installs, and have Blender's own tool check it.

    python tools/fetch_wheels.py
    python tools/build_extension.py
    python tools/build_extension.py --split-platforms

The zip is the same, byte for byte, for the same files. `wheels` of its manifest names what lies in `wheels/`. The last line
writes a repository that a studio can serve as plain files, `dist/repository/`: a zip for each platform, with its wheels only,
and the index that Blender reads.
"""

import argparse
import importlib.util
import re
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
# Blender's name of each platform, and the platform tags of the wheels that run there.
PLATFORMS = {
    "linux-x64": r"(many|musl)?linux.*_x86_64|any",
    "windows-x64": r"win_amd64|any",
    "windows-arm64": r"win_arm64|any",
    "macos-arm64": r"macosx_.*_(arm64|universal2)|any",
    "macos-x64": r"macosx_.*_(x86_64|universal2)|any",
}


def contents(root: Path, wheels: list[Path], platform: str | None = None) -> dict[str, bytes]:
    """Names in the zip and what each holds, for one platform or for all. Raises FileNotFoundError for one that is missing."""
    wheels = [wheel for wheel in wheels if platform is None or runs_on(wheel.name, platform)]
    files = {name: (root / name).read_bytes() for name in SINGLE}
    for package in PACKAGES:
        paths = [path for pattern in PACKED for path in (root / package).rglob(pattern)]
        files |= {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    files |= {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels}
    files[MANIFEST] = manifest_with_wheels((root / MANIFEST).read_text(), [wheel.name for wheel in wheels], platform).encode()
    return files


def runs_on(wheel: str, platform: str) -> bool:
    """Whether one of the platform tags at the end of the wheel's name is one of `platform`."""
    tags = wheel.removesuffix(".whl").rpartition("-")[2].split(".")
    return any(re.fullmatch(PLATFORMS[platform], tag) for tag in tags)


def manifest_with_wheels(manifest: str, names: list[str], platform: str | None = None) -> str:
    """The manifest with its empty list of wheels filled, and its platform. Raises ValueError if there is no such list."""
    if manifest.count(NO_WHEELS) != 1:
        raise ValueError(f"{MANIFEST} must hold the line '{NO_WHEELS}' once: the build fills it")
    lines = "".join(f'  "./wheels/{name}",\n' for name in sorted(names))
    only = f'platforms = ["{platform}"]\n' if platform else ""
    return manifest.replace(NO_WHEELS, f"{only}wheels = [\n{lines}]")


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


def build_one(wheels: list[Path], version: str) -> list[Path]:
    """The zip for every platform."""
    target = ROOT / "dist" / f"beyondscene-{version}.zip"
    write_zip(target, contents(ROOT, wheels))
    return [target]


def build_each(folder: Path, wheels: list[Path], version: str) -> list[Path]:
    """A zip for each platform, alone in `folder`, since every zip there becomes part of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.zip"):
        old.unlink()
    targets = []
    for platform in PLATFORMS:
        targets.append(folder / f"beyondscene-{version}-{platform.replace('-', '_')}.zip")
        write_zip(targets[-1], contents(ROOT, wheels, platform))
    return targets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--split-platforms", action="store_true", help="dist/repository/: a zip for each platform, and an index"
    )
    split = parser.parse_args().split_platforms
    wheels = sorted((ROOT / "wheels").glob("*.whl"))
    if not wheels:
        print("wheels/ is empty, and Blender has neither pyzmq nor msgspec: run tools/fetch_wheels.py first.", file=sys.stderr)
        return 1
    version = tomllib.loads((ROOT / MANIFEST).read_text())["version"]
    (ROOT / "dist").mkdir(exist_ok=True)
    repository = ROOT / "dist" / "repository"
    targets = build_each(repository, wheels, version) if split else build_one(wheels, version)
    for target in targets:
        print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB")
    tool = blender_extension_tool()
    if tool is None:
        print(
            "Not validated, no index: install the bpy wheel, or run `blender --command extension validate`, `server-generate`."
        )
        return 0
    commands = [["validate", str(target)] for target in targets]
    if split:
        commands.append(["server-generate", "--repo-dir", str(repository)])
    return max(subprocess.run([sys.executable, str(tool), *command], check=False).returncode for command in commands)


if __name__ == "__main__":
    raise SystemExit(main())
