"""Fetch into `wheels/` what the add-on needs beside Blender: pyzmq and msgspec, unmodified, for every platform Blender has.

    python tools/fetch_wheels.py

Blender 4.2 to 5.0 run Python 3.11, later ones 3.13. The wheels are not in git; `build_extension.py` packs what is here.
"""

import subprocess
import sys
from pathlib import Path

WHEELS = Path(__file__).parent.parent / "wheels"
PACKAGES = ("pyzmq==27.*", "msgspec==0.22.*")
PYTHONS = ("3.11", "3.13")
# Newest first: pip takes the first that has a file, and older systems are served by the older tag where there is one.
PLATFORMS = {
    "linux x64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "windows x64": ("win_amd64",),
    "windows arm64": ("win_arm64",),
    "macos arm64": ("macosx_11_0_arm64", "macosx_11_0_universal2", "macosx_10_15_universal2"),
    "macos x64": ("macosx_10_15_universal2", "macosx_10_9_x86_64", "macosx_10_12_x86_64", "macosx_11_0_x86_64"),
}


def main() -> None:
    WHEELS.mkdir(exist_ok=True)
    for old in WHEELS.glob("*.whl"):
        old.unlink()
    for platform, tags in PLATFORMS.items():
        for python in PYTHONS:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--no-deps"]
            command += ["--dest", str(WHEELS), "--python-version", python, *(f"--platform={tag}" for tag in tags)]
            print(f"{platform}, Python {python}", flush=True)
            subprocess.run([*command, *PACKAGES], check=True)
    for wheel in sorted(WHEELS.glob("*.whl")):
        print(f"  {wheel.name}  {wheel.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
